"""Start the servers that are measured, on loopback, and stop them at the end of a block."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).parent
DATABASE_CONNECTIONS: Final = 10
START_SECONDS: Final = 120
MAX_SAID: Final = 2_000
"""How many of the last characters of its output are shown of a server that does not start."""


class NotMeasured(Exception):  # noqa: N818 - it is no error of ours
    """Why a side can't be measured here, as a sentence."""


class Server(NamedTuple):
    """A server that runs."""

    address: str
    pid: int


def ours(url: str, processes: int = 1) -> tuple[list[str], dict[str, str]]:
    """Give the command and the environment of our service, its log of requests off.

    It waits for a connection as long as PostgREST does, so that a busy machine refuses nothing.
    """
    return [sys.executable, "-m", "api.cli", "serve", "--workers", str(processes)], {
        "DATABASE_URL": url,
        "CLAIM_RECORDS_POOL_SIZE": str(DATABASE_CONNECTIONS),
        "CLAIM_RECORDS_LOG_LEVEL": "warning",
        "CLAIM_RECORDS_RATE_PER_MINUTE": "0",
        "CLAIM_RECORDS_ACQUIRE_SECONDS": "10",
        "CLAIM_RECORDS_STATEMENT_SECONDS": "30",
        "PYTHONPATH": str(HERE.parent),
    }


@contextmanager
def running(
    command: list[str], environment: Mapping[str, str], port: int | None = None
) -> Iterator[Server]:
    """Run a server until the end of the block, from when it answers."""
    port = port or free_port()
    ports = dict.fromkeys(("PORT", "CLAIM_RECORDS_PORT", "PGRST_SERVER_PORT"), str(port))
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env={**os.environ, **environment, **ports}, stdout=log, stderr=log
        )
        try:
            address = f"http://127.0.0.1:{port}"
            if not _answers(process, address):
                log.seek(0)
                said = log.read().decode(errors="replace")[-MAX_SAID:]
                raise NotMeasured(f"{Path(command[0]).name} does not answer: {said}")
            yield Server(address, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(process: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until a server answers; give up when it has ended, or after START_SECONDS."""
    for _ in range(START_SECONDS * 10):
        try:
            with urllib.request.urlopen(f"{address}/", timeout=1) as answer:  # noqa: S310
                answer.read()
        except urllib.error.HTTPError:  # it answers, though it has no such path
            return True
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return True
    return False


def free_port() -> int:
    """Find a port on loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
