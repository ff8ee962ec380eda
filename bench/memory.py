"""Measure the memory that clients take which ask for much and read nothing.

    python bench/memory.py [--exports 60] [--lists 4] [--streams 20] [--pages 20] [--seconds 20]

Starts an embedded Postgres with articles of 4 MiB and the service on loopback, and removes
everything. Without a key, clients ask for exports, for lists of 200 articles, and for streams and
pages of the change feed, all at once; none reads its answer. What counts is by how much the peak
memory of the service grows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from servers import free_port, running  # noqa: E402 - beside this file

from api.core.db import Database  # noqa: E402
from api.embedded import EmbeddedPostgres  # noqa: E402
from api.server import schema  # noqa: E402
from api.settings import Settings  # noqa: E402
from api.sync.importing.runs import load  # noqa: E402

ARTICLES: Final = 30
SMALL: Final = 2_000
TEXT_BYTES: Final = 4 * 1024**2 - 1_024


def main() -> None:
    """Fill a database, serve it, ask, and print the memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exports", type=int, default=60, help="how many at once")
    parser.add_argument("--lists", type=int, default=4, help="how many at once")
    parser.add_argument("--streams", type=int, default=20, help="of the feed, how many at once")
    parser.add_argument("--pages", type=int, default=20, help="of the feed, how many at once")
    parser.add_argument("--seconds", type=float, default=20, help="how long nobody reads")
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="claim-bench-"))
        server = stack.enter_context(EmbeddedPostgres(Path(directory) / "data"))
        asyncio.run(_fill(server.url()))
        port = free_port()
        environment = {
            "DATABASE_URL": server.url(),
            "CLAIM_RECORDS_PORT": str(port),
            "CLAIM_RECORDS_LOG_LEVEL": "warning",
            "PYTHONPATH": str(HERE.parent),
        }
        command = [sys.executable, "-m", "api.cli", "serve"]
        service = stack.enter_context(running(command, environment, port))
        for path in ("/v1/export?types=source", "/v1/articles?limit=1"):  # what comes once
            with urllib.request.urlopen(service.address + path, timeout=30) as answer:  # noqa: S310
                answer.read()
        before = _memory(service.pid, "VmRSS")
        paths = ["/v1/export"] * options.exports + ["/v1/articles?limit=200"] * options.lists
        paths += ["/v1/changes/stream"] * options.streams + ["/v1/changes"] * options.pages
        sockets = [stack.enter_context(_ask(service.address, path)) for path in paths]
        until = time.monotonic() + options.seconds
        now = before
        while time.monotonic() < until:
            time.sleep(0.2)
            now = max(now, _memory(service.pid, "VmRSS"))
        peak = _memory(service.pid, "VmHWM")
        print(f"{len(sockets)} clients that do not read: {before:.0f} MiB before them,")
        print(f"{now:.0f} MiB beside them (+{now - before:.0f}),")
        print(f"peak {peak:.0f} MiB (+{peak - before:.0f})")


async def _fill(url: str) -> None:
    await schema.migrate(url)
    database = Database(url, Settings())
    await database.open()
    text = ("Nobody could say where the figure came from. " * 100_000)[:TEXT_BYTES]
    try:
        lines = [
            json.dumps({"type": "article", "data": {"headline": f"Article {n}", "text": text}})
            for n in range(ARTICLES)
        ]
        lines += [
            json.dumps({"type": "source", "data": {"kind": "person", "name": f"Somebody {n}"}})
            for n in range(SMALL)
        ]
        totals = (await load(database, (line.encode() for line in lines))).totals
        if totals.refused:
            sys.exit(f"{totals.refused} of the records to measure with were refused.")
    finally:
        await database.close()


def _ask(address: str, path: str) -> socket.socket:
    """Send a request over a connection whose receive buffer is small."""
    place = urlsplit(address)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect((place.hostname, place.port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
    return connection


def _memory(pid: int, name: str) -> float:
    """Give a figure of a process' memory in MiB (proc(5))."""
    [line] = [
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith(f"{name}:")
    ]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
