"""Who gets into the embedded Postgres: the user who serves, and no other process."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.embedded import EmbeddedPostgres, EmbeddedPostgresError, access, postmaster, running_url
from api.embedded.binaries import major_version
from tests.test_embedded import (
    HOLD,
    LINUX,
    NOBODY,
    ORDINARY,
    ROOT,
    binaries_here,
    query,
    script,
    wait_for,
)

if not (ROOT and LINUX):
    pytest.skip("only root on Linux can become another user", allow_module_level=True)

# Become a process of the server's user without any privilege, and try to get at the server.
ATTACK = """
import json, os, socket, struct, sys
from pathlib import Path
data_dir, sockets, pids = sys.argv[1], sys.argv[2], sys.argv[3].split()
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
status = Path("/proc/self/status").read_text()
assert "CapEff:\\t0000000000000000" in status

def connect():
    found = socket.socket(socket.AF_UNIX)
    found.connect(sockets + "/.s.PGSQL.5432")
    words = b"user\\0postgres\\0database\\0claim_records\\0\\0"
    found.sendall(struct.pack("!II", len(words) + 8, 196608) + words)
    answer = found.recv(1000)
    assert answer[:1] == b"R", answer

def append(path):
    with open(path, "a") as file:
        file.write("# seen\\n")

def found_below(path):
    return [os.path.join(where, name) for where, _, names in os.walk(path) for name in names]

def try_all():
    yield "connect", connect
    yield "list", lambda: os.listdir(data_dir)
    for cluster in (data_dir, data_dir + "/postgres"):
        yield f"read {cluster}", lambda: Path(cluster, "PG_VERSION").read_text()
        yield f"write {cluster}", lambda: append(cluster + "/pg_hba.conf")
        yield f"add {cluster}", lambda: Path(cluster, "new").write_text("")
    for pid in pids:
        for entry in ("environ", "maps", "mem", "auxv", "stack"):
            yield f"read {entry}", lambda: open(f"/proc/{pid}/{entry}", "rb").read(1)
        for entry in ("cwd", "root", "exe", "fd/0", "fd/1", "fd/2"):
            yield f"follow {entry}", lambda: os.stat(f"/proc/{pid}/{entry}")
        yield "through root", lambda: os.listdir(f"/proc/{pid}/root/{data_dir}")
        yield "through cwd", lambda: os.listdir(f"/proc/{pid}/cwd/base")

done = found_below(data_dir)
for name, attempt in try_all():
    try:
        attempt()
    except (OSError, AssertionError) as error:
        print(name, repr(error), file=sys.stderr)
    else:
        done.append(name)
print(json.dumps(done))
"""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """Give a directory that every user may enter."""
    place = Path(tempfile.mkdtemp(prefix="open-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def attack(data_dir: Path, server: EmbeddedPostgres) -> Any:
    """Let a process of the server's user try all it can; return what it got done."""
    found = postmaster.running(access.locate(data_dir))
    assert found is not None
    children = Path(f"/proc/{found.pid}/task/{found.pid}/children").read_text()
    assert f"host={found.sockets.replace('/', '%2F')}" in server.url()
    done = subprocess.run(
        [sys.executable, "-c", ATTACK, data_dir, found.sockets, f"{found.pid} {children}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("binaries", binaries_here(), ids=lambda path: f"pg{major_version(path)}")
@pytest.mark.process
def test_no_other_process_of_the_servers_user_gets_in(open_place: Path, binaries: Path) -> None:
    data_dir = open_place / "data"
    for _ in ("first start", "later start"):
        with EmbeddedPostgres(data_dir, fsync=False, binaries=binaries) as server:
            assert attack(data_dir, server) == []
            assert query(server.url(), "SELECT session_user::text") == "postgres"
            assert query(server.url(), "SHOW dynamic_shared_memory_type") == "mmap"
            assert running_url(data_dir) == server.url()
            if binaries == binaries_here()[0]:
                program = shutil.which("psql") or binaries / "psql"
                asked = [program, "-XAtc", "SELECT 1", server.url()]
                assert subprocess.check_output(asked, text=True) == "1\n"


@pytest.mark.process
def test_a_socket_that_can_be_reached_lets_in_only_the_user_who_serves(open_place: Path) -> None:
    data_dir = open_place / "data"
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        data_dir.chmod(0o755)
        done = attack(data_dir, server)
        assert "read " + str(data_dir / "postgres") in done, "the other wall still stands"
        assert "connect" not in done
    with EmbeddedPostgres(data_dir, fsync=False) as server:  # it closes again, with the rules
        assert attack(data_dir, server) == []
        assert query(server.url(), "SELECT 1") == 1


@pytest.mark.process
def test_a_socket_outside_of_the_data_is_out_of_reach_too(open_place: Path) -> None:
    data_dir = open_place / ("long" * 30) / "data"
    data_dir.parent.mkdir(mode=0o755)
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        assert attack(data_dir, server) == []
        assert query(server.url(), "SELECT 1") == 1


def opened(data_dir: Path) -> None:
    """Make a cluster as older versions did: open, and it trusts whoever reaches its socket."""
    closed = Path(tempfile.mkdtemp(prefix="closed-", dir=data_dir.parent))
    with EmbeddedPostgres(closed / "data", fsync=False) as server:
        query(server.url(), "CREATE TABLE kept (word text)", "INSERT INTO kept VALUES ('kept')")
    (closed / "data" / "pg_hba.conf").write_text("local all all trust\n")
    (closed / "data").rename(data_dir)
    shutil.rmtree(closed)


def kept(server: EmbeddedPostgres) -> Any:
    return query(server.url(), "SELECT word FROM kept")


@pytest.mark.process
def test_data_of_an_older_version_is_closed_at_the_next_start(open_place: Path) -> None:
    data_dir = open_place / "data"
    opened(data_dir)
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        assert attack(data_dir, server) == []
        assert kept(server) == "kept"
    status = data_dir.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o700)
    assert {path.name for path in open_place.iterdir()} == {"data", ".data.lock"}


@pytest.mark.parametrize("renames", [0, 1])
@pytest.mark.process
def test_a_move_that_is_interrupted_is_finished_at_the_next_start(
    open_place: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    data_dir = open_place / "data"
    opened(data_dir)
    rename = Path.rename
    done: list[Path] = []

    def interrupted(self: Path, target: Path) -> Path:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(self)
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            EmbeddedPostgres(data_dir, fsync=False).start()
    assert (open_place / ".data.closing").exists()
    assert data_dir.exists() == (renames == 0)
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        assert kept(server) == "kept"
        assert attack(data_dir, server) == []
    assert {path.name for path in open_place.iterdir()} == {"data", ".data.lock"}


@pytest.mark.process
def test_a_first_start_that_is_killed_begins_anew(open_place: Path) -> None:
    data_dir = open_place / "data"
    with script(HOLD, data_dir) as process:
        wait_for(lambda: list(open_place.glob("data/.postgres.unfinished-*")))
        process.kill()
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        assert query(server.url(), "SELECT 1") == 1
    assert [path.name for path in data_dir.iterdir()] == ["postgres"]


@pytest.mark.process
def test_open_data_of_an_ordinary_user_is_refused_with_what_to_do(open_place: Path) -> None:
    data_dir = open_place / "data"
    opened(data_dir)
    subprocess.run(["chown", "-R", f"{ORDINARY}:{ORDINARY}", data_dir], check=True)
    with pytest.raises(EmbeddedPostgresError, match="Run as that user, or let nobody but root"):
        EmbeddedPostgres(data_dir, fsync=False).start()
    assert (data_dir / "PG_VERSION").exists()
    open_place.chmod(0o700)
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        assert kept(server) == "kept"


@pytest.mark.process
def test_data_that_cannot_be_moved_is_refused_with_what_to_do(
    open_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = open_place / "data"
    opened(data_dir)

    def busy(self: Path, target: Path) -> Path:
        raise OSError(16, "Device or resource busy", str(self), 0, str(target))

    monkeypatch.setattr(Path, "rename", busy)
    with pytest.raises(EmbeddedPostgresError, match=f"busy.*chmod 700 {open_place}"):
        EmbeddedPostgres(data_dir, fsync=False).start()
    assert {path.name for path in open_place.iterdir()} == {"data", ".data.lock"}


@pytest.mark.process
def test_a_log_that_is_a_link_is_not_followed(open_place: Path) -> None:
    data_dir, victim = open_place / "data", open_place / "victim"
    opened(data_dir)
    victim.write_text("secret")
    (data_dir / "server.log").unlink()
    (data_dir / "server.log").symlink_to(victim)
    with pytest.raises(EmbeddedPostgresError, match="Cannot use the data directory"):
        EmbeddedPostgres(data_dir, fsync=False).start()
    assert (victim.read_text(), victim.stat().st_uid) == ("secret", 0)
    assert NOBODY not in {path.stat().st_uid for path in open_place.iterdir()}
