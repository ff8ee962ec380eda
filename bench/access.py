"""Measure what keys cost, and how soon a withdrawn one is refused.

    python bench/access.py [--tries 20] [--rounds 40] [--seconds 0.5]

Starts the service with an embedded Postgres in a temporary directory, on loopback, and removes
everything. First two processes serve: each try makes a key, uses it on both, withdraws it by the
one and asks both until they refuse it. Then one process serves, and the same claims are read with a
key and without in short, alternating rounds, each in the other order: what else the machine does
then weighs on both. Last comes what counting a request for the rate limit takes, by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

REPOSITORY: Final = Path(__file__).resolve().parents[1]
PATIENCE: Final = 30  # seconds, for anything
SETTINGS: Final = {"CLAIM_RECORDS_RATE_PER_MINUTE": "0", "CLAIM_RECORDS_LOG_LEVEL": "warning"}


class Service(NamedTuple):
    """A service that runs, and the key that its first start printed."""

    pid: int
    place: tuple[str, int]
    key: str

    def workers(self) -> list[int]:
        """List the processes that serve."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [
            int(pid)
            for pid in children
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]


@contextmanager
def serving(*arguments: str) -> Iterator[Service]:
    """Run a new service until the end of the block."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "api.cli", "serve", "--port", "0", "--demo"]
        process = subprocess.Popen(
            [*command, "--data-dir", f"{directory}/data", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=os.environ | SETTINGS,
        )
        try:
            printed = [process.stdout.readline() if process.stdout else "" for _ in range(4)]
            address = urlsplit(printed[0].split()[-1])
            place = (address.hostname or "", address.port or 0)
            yield Service(process.pid, place, printed[3].split()[-1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


class Connection:
    """A connection that stays open, and so stays with one process."""

    def __init__(self, place: tuple[str, int]) -> None:
        """Connect."""
        self._socket = socket.create_connection(place, PATIENCE)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def process(self, workers: list[int]) -> int:
        """Say which of the processes has the other end (Linux' table of sockets)."""
        here, there = self._socket.getsockname(), self._socket.getpeername()
        wanted = (_hexadecimal(there), _hexadecimal(here))
        rows = map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        inode = next(row[9] for row in rows if (row[1], row[2]) == wanted)
        for pid in workers:
            for held in Path(f"/proc/{pid}/fd").iterdir():
                if str(held.readlink()) == f"socket:[{inode}]":
                    return pid
        raise SystemExit("no process has the connection")

    def ask(self, line: str, key: str | None, sent: object = None) -> tuple[int, bytes]:
        """Send a request; give the status and the body."""
        self._socket.sendall(request(line, key, sent))
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, body = received.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        while len(body) < size:
            body += self._more()
        return int(head[9:12]), body

    def _more(self) -> bytes:
        received = self._socket.recv(65_536)
        if not received:
            raise SystemExit("the service hung up")
        return received


def _hexadecimal(place: tuple[str, int]) -> str:
    address = int.from_bytes(socket.inet_aton(place[0]), sys.byteorder)
    return f"{address:08X}:{place[1]:04X}"


def request(line: str, key: str | None, sent: object = None) -> bytes:
    """Write a request."""
    body = b"" if sent is None else json.dumps(sent).encode()
    head = [f"{line} HTTP/1.1", "Host: localhost"]
    if key is not None:
        head.append(f"Authorization: Bearer {key}")
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


# --- how soon a key is refused -------------------------------------------------------------------


def one_to_each(service: Service) -> list[Connection]:
    """Connect until every process has a connection."""
    workers, found = service.workers(), dict[int, Connection]()
    until = time.monotonic() + PATIENCE
    while len(found) < len(workers) and time.monotonic() < until:
        connection = Connection(service.place)
        pid = connection.process(workers)
        if pid in found:
            connection.close()
        found.setdefault(pid, connection)
    if len(found) < 2:
        raise SystemExit("the processes could not be told apart")
    return list(found.values())


def refused_after(here: Connection, elsewhere: Connection, full: str) -> tuple[float, float]:
    """Withdraw a key that both processes know; give the milliseconds until each refuses it."""
    made = json.loads(here.ask("POST /v1/keys", full, {"name": "bench", "scopes": ["read"]})[1])
    for connection in (here, elsewhere):
        if connection.ask("GET /v1/claims", made["key"])[0] != 200:
            raise SystemExit("the new key does not work")
    if here.ask(f"DELETE /v1/keys/{made['id']}", full)[0] != 204:
        raise SystemExit("the key could not be withdrawn")
    started, refused = time.perf_counter(), dict[Connection, float]()
    while len(refused) < 2 and time.perf_counter() < started + PATIENCE:
        for connection in {here, elsewhere} - refused.keys():
            if connection.ask("GET /v1/claims", made["key"])[0] == 401:
                refused[connection] = (time.perf_counter() - started) * 1000
    return refused[here], refused[elsewhere]


def measure_revocation(tries: int) -> None:
    """Print how long a withdrawn key went on working."""
    with serving("--workers", "2") as service, ExitStack() as stack:
        first, second = one_to_each(service)
        stack.callback(first.close)
        stack.callback(second.close)
        pairs = ((first, second), (second, first))
        found = [refused_after(*pairs[n % 2], service.key) for n in range(tries)]
    for name, times in zip(
        ("where it was withdrawn", "elsewhere"), zip(*found, strict=True), strict=True
    ):
        print(
            f"refused {name}: median {statistics.median(times):.0f} ms,"
            f" most {max(times):.0f} ms, of {tries} tries"
        )


# --- what a key costs ----------------------------------------------------------------------------


class Round(NamedTuple):
    """What one round showed."""

    per_second: float
    p50: float  # milliseconds
    cpu: float  # microseconds of the server's processor for a request


def processor_seconds(pid: int) -> float:
    """Read how long a process has been computing."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_on(service: Service, path: str, key: str | None, seconds: float) -> Round:
    """Read a claim again and again for some seconds, one request after another."""
    connection, times = Connection(service.place), list[float]()
    before, began = processor_seconds(service.pid), time.perf_counter()
    while (started := time.perf_counter()) < began + seconds:
        if connection.ask(f"GET {path}", key)[0] != 200:
            raise SystemExit("the claim can't be read")
        times.append(time.perf_counter() - started)
    took = time.perf_counter() - began
    cpu = processor_seconds(service.pid) - before
    connection.close()
    return Round(len(times) / took, statistics.median(times) * 1e3, cpu / len(times) * 1e6)


def measure_cost(rounds: int, seconds: float) -> None:
    """Print what reading a claim takes with a key and without."""
    with serving() as service:
        connection = Connection(service.place)
        page = json.loads(connection.ask("GET /v1/claims?limit=1", None)[1])
        connection.close()
        path = f"/v1/claims/{page['items'][0]['id']}"
        read_on(service, path, service.key, 2)  # warm
        found: dict[bool, list[Round]] = {True: [], False: []}
        for number in range(rounds):
            for with_key in (True, False)[:: 1 - 2 * (number % 2)]:
                key = service.key if with_key else None
                found[with_key].append(read_on(service, path, key, seconds))
    for with_key, each in found.items():
        rate, p50, cpu = (statistics.median(values) for values in zip(*each, strict=True))
        name = "with a key" if with_key else "without"
        print(f"{name:11} {rate:7.0f} requests/s  p50 {p50:.3f} ms  server CPU {cpu:.0f} µs")
    for name, field in (("p50", 1), ("server CPU", 2)):
        ratios = [a[field] / b[field] for a, b in zip(found[True], found[False], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name} with a key ÷ without: median {middle:.3f}"
            f" (half of them {low:.3f} to {high:.3f}), {rounds} rounds"
        )


def measure_counting() -> None:
    """Print what counting a request takes."""
    setup = "from api.access.limits import Limits; from api.settings import Settings; "
    setup += "limits = Limits(Settings())"
    timeit = [sys.executable, "-m", "timeit", "-u", "usec", "-s", setup, "limits.take('somebody')"]
    done = subprocess.run(timeit, check=True, capture_output=True, text=True, cwd=REPOSITORY)
    print(f"counting a request: {done.stdout.strip()}")


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.5)
    options = parser.parse_args()
    measure_revocation(options.tries)
    measure_cost(options.rounds, options.seconds)
    measure_counting()


if __name__ == "__main__":
    main()
