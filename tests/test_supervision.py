"""An embedded Postgres that ends by itself is started again while the service goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api.embedded import access, postmaster
from api.server.exits import DATABASE
from tests.conftest import PATIENCE, bearer
from tests.test_cli import Service, eventually, serving

pytestmark = [pytest.mark.process, pytest.mark.newest]  # each starts a Postgres of its own


def server_pid(data_dir: Path) -> int:
    """Give the pid of the server that takes connections, 0 while there is none."""
    server = postmaster.running(access.locate(data_dir.resolve()))
    return server.pid if server is not None and server.status == "ready" else 0


def writer(service: Service) -> Callable[[], int]:
    """Give what writes a source and tells the status of the answer."""
    key = service.key()
    source = {"kind": "person", "identification": "named", "name": "Ada"}

    def write() -> int:
        return httpx.post(
            f"{service.address}/v1/sources",
            json=source,
            headers=bearer(key),
            timeout=PATIENCE,
        ).status_code

    return write


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_writes_go_on_after_postgres_ended(
    tmp_path: Path, workers: str, number: signal.Signals, record_property: Callable[..., None]
) -> None:
    data_dir = tmp_path / "data"
    with serving(tmp_path, "--workers", workers, "--data-dir", str(data_dir)) as service:
        write = writer(service)
        assert write() == 201
        before = server_pid(data_dir)
        assert before
        os.kill(before, number)
        began = time.monotonic()
        statuses = [write()]
        while statuses[-1] != 201 or server_pid(data_dir) in (0, before):
            time.sleep(0.02)
            statuses.append(write())
            assert time.monotonic() - began < PATIENCE
        took = time.monotonic() - began
        record_property("healed", f"{number.name}, {workers} workers: {took:.2f} s")
        assert set(statuses) <= {201, 503}
        eventually(lambda: service.get("/health/ready").status_code == 200)
        # One start is enough, and the first comes soon; `bench/faults.py` measures the time.
        assert service.log.count("The embedded Postgres has ended; starting it again") == 1
        assert "did not start again" not in service.log
        eventually(lambda: "The embedded Postgres runs again, after" in service.log)
        assert "Traceback" not in service.log
        assert service.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_service_ends_where_postgres_does_not_start_again(tmp_path: Path, workers: str) -> None:
    data_dir = tmp_path / "data"
    with serving(tmp_path, "--workers", workers, "--data-dir", str(data_dir)) as service:
        pid = server_pid(data_dir)
        assert pid
        (data_dir / "postgresql.conf").write_text("max_wal_size = many\n")
        os.kill(pid, signal.SIGKILL)
        assert service.process.wait(PATIENCE) == DATABASE
        assert "did not start again in 5 attempts" in service.log
