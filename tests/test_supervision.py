"""An embedded Postgres that ends by itself is started again while the service goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from api.embedded import EmbeddedPostgres, Supervisor, access, postmaster, supervisor
from api.embedded.supervisor import MAX_FAILED_STARTS, MAX_PAUSE_FULL, NEEDED_SPACE
from api.server.exits import DATABASE
from tests.conftest import PATIENCE, bearer
from tests.test_cli import Service, eventually, serving
from tests.test_embedded import query

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


def test_space_is_waited_for_however_often_postgres_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is told of the disk is invented. It is a wrong setting that prevents the starts."""
    full: set[Path] = set()

    def disk_usage(place: Path) -> SimpleNamespace:
        assert place.is_dir()
        return SimpleNamespace(free=NEEDED_SPACE - (place in full))

    monkeypatch.setattr(supervisor, "shutil", SimpleNamespace(disk_usage=disk_usage))
    reports: list[str] = []

    with EmbeddedPostgres(tmp_path / "data") as server:
        watch = Supervisor(server, reports.append)

        def until(condition: Callable[[], object]) -> None:
            deadline = time.monotonic() + PATIENCE
            while not condition():
                assert time.monotonic() < deadline, reports
                watch.check()
                time.sleep(0.01)

        query(server.url(), "CREATE TABLE kept (word text)", "INSERT INTO kept VALUES ('kept')")
        cluster = server.log.parent
        settings = cluster / "postgresql.conf"
        right = settings.read_text()
        settings.write_text("max_wal_size = many\n")
        full.add(cluster)
        os.kill(server_pid(tmp_path / "data"), signal.SIGKILL)
        until(lambda: len(reports) == 1 + 2)
        full.clear()
        full.add(cluster / "pg_wal")  # it may be a disk of its own
        until(lambda: len(reports) == 1 + 2 + MAX_FAILED_STARTS)
        ended, *failed = reports
        assert ended == "The embedded Postgres has ended; starting it again"
        assert {sentence.partition(":")[0] for sentence in failed} == {
            "Postgres did not start again, as its disk is full"
        }

        full.clear()
        settings.write_text(right)
        until(server.is_ready)
        until(lambda: "The embedded Postgres runs again" in reports[-1])
        assert query(server.url(), "SELECT word FROM kept") == "kept"
        # Freed space is noticed soon, however long the disk was full.
        assert watch._pause <= 2 * MAX_PAUSE_FULL  # noqa: SLF001 - a time would be the machine's
