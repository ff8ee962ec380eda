"""Hold many idle connections, and see what they cost a reader.

    python bench/idle.py [--connections 10000] [--seconds 8]

Starts the service with an embedded Postgres in a temporary directory, on loopback, and removes
everything. A reader asks one thing after another on one connection, first alone, then beside the
idle ones, and alone again; half of the idle ones have asked something before they fell silent.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

REPOSITORY = Path(__file__).resolve().parents[1]
FROM_ONE_ADDRESS = 20_000  # a source address has some 28,000 ports to give
ALIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
READ = b"GET /v1/claims?limit=20 HTTP/1.1\r\nHost: localhost\r\n\r\n"


def answer(client: socket.socket, request: bytes) -> bytes:
    """Send a request on a connection that stays open, and read the whole answer."""
    client.sendall(request)
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(65_536)
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(head.decode())
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < size:
        body += client.recv(65_536)
    return body


def latencies(place: tuple[str, int], seconds: float) -> list[float]:
    """Read again and again for some seconds; give each read's milliseconds, sorted."""
    found = []
    with socket.create_connection(place) as client:
        until = time.perf_counter() + seconds
        while (started := time.perf_counter()) < until:
            answer(client, READ)
            found.append((time.perf_counter() - started) * 1000)
    return sorted(found)


def told(name: str, found: list[float], pid: int) -> float:
    """Print what a round showed; give its p99."""
    p99 = found[int(len(found) * 0.99)]
    status = Path(f"/proc/{pid}/status").read_text()
    memory = int(status.partition("VmRSS:")[2].split()[0]) // 1024
    print(
        f"{name:22} {len(found):6} reads  p50 {statistics.median(found):6.2f} ms"
        f"  p99 {p99:6.2f} ms  max {found[-1]:7.2f} ms  {memory} MiB"
    )
    return p99


def hold(place: tuple[str, int], count: int) -> list[socket.socket]:
    """Open connections; every other one asks something before it falls silent."""
    held = []
    for number in range(count):
        client = socket.socket()
        client.bind((f"127.0.0.{2 + number // FROM_ONE_ADDRESS}", 0))
        client.connect(place)
        if number % 2:
            answer(client, ALIVE)
        held.append(client)
    return held


def still_open(held: list[socket.socket]) -> int:
    """Count the connections that the service has not closed."""
    count = 0
    for client in held:
        client.setblocking(False)
        try:
            client.recv(1)
        except BlockingIOError:
            count += 1
    return count


def measure(place: tuple[str, int], pid: int, connections: int, seconds: float) -> None:
    """Compare a reader's times with and without the idle connections."""
    latencies(place, 2)  # warm
    before = told("alone", latencies(place, seconds), pid)
    started = time.perf_counter()
    held = hold(place, connections)
    print(f"{connections} connections opened in {time.perf_counter() - started:.1f} s")
    beside = told(f"beside {connections} idle", latencies(place, seconds), pid)
    print(f"{still_open(held)} of them are still open")
    for client in held:
        client.close()
    time.sleep(1)
    after = told("alone again", latencies(place, seconds), pid)
    print(f"p99 beside them is {beside / statistics.mean((before, after)):.2f} times that without")


def main() -> None:
    """Start the service, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    settings = {
        "CLAIM_RECORDS_SILENT_SECONDS": "600",  # idle connections are what is measured
        "CLAIM_RECORDS_RATE_PER_MINUTE": "0",
        "CLAIM_RECORDS_LOG_LEVEL": "warning",
    }
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "api.cli", "serve", "--demo", "--port", "0"]
        service = subprocess.Popen(
            [*command, "--data-dir", f"{directory}/data"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=os.environ | settings,
        )
        try:
            first_line = service.stdout.readline() if service.stdout else ""
            address = urlsplit(first_line.split()[-1])
            place = (address.hostname or "", address.port or 0)
            measure(place, service.pid, options.connections, options.seconds)
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)


if __name__ == "__main__":
    main()
