"""What the embedded Postgres promises, tried on real servers and real processes."""

import asyncio
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from api.embedded import EmbeddedPostgres, EmbeddedPostgresError, find_binaries, lock, running_url
from api.embedded.binaries import candidate_directories, major_version
from tests.conftest import PATIENCE

ROOT = os.geteuid() == 0
LINUX = sys.platform == "linux"
NOBODY = 65534
# initdb wants a user that is listed
ORDINARY = next(user.pw_uid for user in pwd.getpwall() if user.pw_uid not in (0, NOBODY))
UNLISTED = 54321
REPOSITORY = Path(__file__).resolve().parents[1]

# Start a server, say its URL, keep it until stdin ends.
HOLD = """
import sys
from pathlib import Path
from api.embedded import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1]), fsync=False) as server:
    print(server.url(), flush=True)
    sys.stdin.read()
"""


def binaries_here() -> list[Path]:
    """One directory for each major version found on this machine."""
    found: dict[int, Path] = {}
    for directory in candidate_directories():
        if (directory / "initdb").exists():
            found.setdefault(major_version(directory), directory)
    return list(found.values())


def reachable_by_others() -> bool:
    """Whether another user may run this interpreter, this code and these binaries."""
    files = [Path(sys.executable), Path(sys.executable).resolve(), REPOSITORY, find_binaries()]
    directories = {parent for file in files for parent in file.parents} | {REPOSITORY}
    return all(directory.stat().st_mode & stat.S_IXOTH for directory in directories)


def as_ordinary_user() -> list[str]:
    """Return what to put before a command so that no root runs it."""
    if not ROOT:
        return []
    return as_user(ORDINARY)


def as_user(uid: int) -> list[str]:
    """Return what to put before a command so that this user runs it; for root on Linux."""
    # Where root's own Python runs the tests, nobody else could: let them look, and no more.
    look = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return become if reachable_by_others() else become + look


def query(url: str, *statements: str) -> Any:
    """Execute statements and return the value of the last."""

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(run())


def server_pid(data_dir: Path) -> int:
    return int((data_dir / "postmaster.pid").read_text().split()[0])


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    asked = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True
    )
    return asked.stdout.strip()[:1] not in ("", "Z")


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


@contextmanager
def script(source: str, *arguments: object, through: list[str] | None = None) -> Iterator[Any]:
    """Run Python code in a process of its own; kill it in the end, if it still lives."""
    with subprocess.Popen(
        [*(through or []), sys.executable, "-W", "error", "-c", source, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said_url(process: Any) -> str:
    """Wait for the URL that a script says when its server is ready."""
    line = process.stdout.readline().strip()
    assert line, "the script's server did not start"
    return str(line)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data directory that was started once."""
    data_dir = tmp_path_factory.mktemp("made") / "data"
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        query(server.url(), "CREATE TABLE kept (word text)", "INSERT INTO kept VALUES ('kept')")
    return data_dir


@pytest.fixture
def data_dir(made: Path, tmp_path: Path) -> Path:
    """Return a copy of it, ready to be started and spoilt."""
    subprocess.run(["cp", "-Rp", made, tmp_path / "data"], check=True)
    return tmp_path / "data"


def kept(server: EmbeddedPostgres) -> Any:
    return query(server.url(), "SELECT word FROM kept")


@pytest.mark.parametrize("binaries", binaries_here(), ids=lambda path: f"pg{major_version(path)}")
@pytest.mark.process
def test_data_outlives_a_restart(tmp_path: Path, binaries: Path) -> None:
    data_dir = tmp_path / "below" / "data"
    said: list[str] = []
    with EmbeddedPostgres(data_dir, binaries=binaries, progress=said.append) as server:
        query(server.url(), "CREATE TABLE t (word text)", "INSERT INTO t VALUES ('Żółć')")
        assert query(server.url(), "SHOW fsync") == "on"
    with EmbeddedPostgres(data_dir, binaries=binaries, progress=said.append) as server:
        # C.UTF-8 knows the case of letters beyond ASCII and sorts by code point
        assert query(server.url(), "SELECT lower(word) FROM t") == "żółć"
        assert query(server.url(), "SELECT 'Z' < 'a'") is True
        assert query(server.url(), "SHOW server_encoding") == "UTF8"
        assert query(server.url(), "SELECT current_database()") == "claim_records"
    assert said == [f"Making a new database in {data_dir}"]


def test_it_listens_on_a_private_socket_only(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, fsync=False, settings={"listen_addresses": "*"}) as server:
        assert query(server.url(), "SHOW listen_addresses") == ""
        assert stat.S_IMODE((data_dir / ".s.PGSQL.5432").stat().st_mode) == 0o700
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


def test_settings_override_the_defaults(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, fsync=False, settings={"max_connections": "7"}) as server:
        assert query(server.url(), "SHOW max_connections") == "7"
        assert query(server.url(), "SHOW jit") == "off"
        assert query(server.url(), "SHOW full_page_writes") == "off"


def test_running_url_names_the_server_that_runs(data_dir: Path) -> None:
    assert running_url(data_dir) is None
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        assert running_url(data_dir) == server.url()
    assert running_url(data_dir) is None
    assert running_url(data_dir / "nothing" / "here") is None


def test_stop_may_come_twice_and_before_start(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, fsync=False)
    server.stop()
    server.start()
    with pytest.raises(EmbeddedPostgresError, match="already running"):
        server.start()
    pid = server_pid(data_dir)
    server.stop()
    server.stop()
    assert not is_alive(pid)
    with pytest.raises(EmbeddedPostgresError, match="not running"):
        server.url()
    server.start()
    assert kept(server) == "kept"
    server.stop()


@pytest.mark.process
def test_a_fork_does_not_stop_its_parents_server(data_dir: Path) -> None:
    forks = "import os; child = os.fork() or sys.exit(); os.waitpid(child, 0); print(child)"
    fork = HOLD.replace("    sys.stdin", f"    {forks}; sys.stdout.flush()\n    sys.stdin")
    with script(fork, data_dir) as process:
        url = said_url(process)
        assert int(process.stdout.readline()) > 0  # the fork has ended
        assert query(url, "SELECT 1") == 1


def test_ctrl_c_in_the_terminal_reaches_only_the_application(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, fsync=False):
        pid = server_pid(data_dir)
        assert os.getsid(pid) == os.getpgid(pid) == pid


def test_starting_off_the_main_thread_is_refused(tmp_path: Path) -> None:
    caught: list[BaseException] = []

    def start() -> None:
        try:
            EmbeddedPostgres(tmp_path / "data").start()
        except EmbeddedPostgresError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])
    assert list(tmp_path.iterdir()) == []


if LINUX:

    @pytest.mark.process
    def test_the_server_stops_when_its_parent_is_killed(data_dir: Path) -> None:
        with script(HOLD, data_dir) as process:
            url = said_url(process)
            query(url, "UPDATE kept SET word = 'changed'")
            pid = server_pid(data_dir)
            process.kill()
        wait_for(lambda: not is_alive(pid))
        assert not (data_dir / "postmaster.pid").exists(), "it was no clean shutdown"
        with EmbeddedPostgres(data_dir, fsync=False) as server:
            assert kept(server) == "changed"


@pytest.mark.process
def test_a_start_right_after_a_kill_waits_for_the_orphan(data_dir: Path) -> None:
    with script(HOLD, data_dir) as process:
        url = said_url(process)
        query(url, "UPDATE kept SET word = 'changed'")
        orphan = server_pid(data_dir)
        process.kill()
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        assert not is_alive(orphan)
        assert kept(server) == "changed"


@pytest.mark.process
def test_what_a_crash_left_does_not_hinder_the_next_start(data_dir: Path) -> None:
    with script(HOLD, data_dir) as process:
        url = said_url(process)
        query(url, "UPDATE kept SET word = 'changed'", "CHECKPOINT")
        crashed = server_pid(data_dir)
        os.kill(crashed, signal.SIGKILL)
        process.kill()
    wait_for(lambda: not is_alive(crashed))
    with subprocess.Popen(["sleep", "60"]) as stranger:
        # as after a reboot: the pid belongs to another program by now
        for left in (data_dir / "postmaster.pid", data_dir / ".s.PGSQL.5432.lock"):
            left.write_text(left.read_text().replace(str(crashed), str(stranger.pid), 1))
        assert running_url(data_dir) is None
        with EmbeddedPostgres(data_dir, fsync=False) as server:
            assert kept(server) == "changed"
        stranger.kill()


@pytest.mark.process
def test_a_lock_that_outlives_its_holder_for_a_moment_is_waited_for(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "PATIENCE", PATIENCE)
    inherit = """
import os, sys, time
from pathlib import Path
from api.embedded.lock import DirectoryLock
DirectoryLock(Path(sys.argv[1])).acquire()
if os.fork():
    print("held", flush=True)
    os.kill(os.getpid(), 9)
time.sleep(0.3)
"""
    with script(inherit, data_dir) as process:
        assert process.stdout.readline() == "held\n"
        process.wait()
        with EmbeddedPostgres(data_dir, fsync=False) as server:
            assert kept(server) == "kept"


@pytest.mark.parametrize(
    "does", ["", f'"{find_binaries()}/initdb" "$@" && '], ids=["first", "last"]
)
@pytest.mark.process
def test_an_interrupted_first_start_begins_anew(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, does: str
) -> None:
    data_dir, binaries = tmp_path / "data", tmp_path_factory.mktemp("bin")
    endless = 'touch "${1#--pgdata=}/seen" && exec sleep 600'
    write_program(binaries / "initdb", does + endless)
    (binaries / "postgres").symlink_to(find_binaries() / "postgres")
    hold = HOLD.replace("fsync=False", "fsync=False, binaries=Path(sys.argv[2])")
    with script(hold, data_dir, binaries) as process:
        wait_for(lambda: list(tmp_path.glob(".data.unfinished-*/seen")))
        process.kill()
    assert not data_dir.exists()
    assert list(tmp_path.glob(".data.unfinished-*"))
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        assert query(server.url(), "SELECT 1") == 1
    with EmbeddedPostgres(data_dir, fsync=False):
        assert {path.name for path in tmp_path.iterdir()} == {"data", ".data.lock"}


def test_a_failed_first_start_leaves_nothing(tmp_path: Path) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    write_program(binaries / "initdb", "echo the disk is on fire; exit 3")
    write_program(binaries / "postgres", "echo 'postgres (PostgreSQL) 18.6'")
    with pytest.raises(EmbeddedPostgresError, match=r"initdb failed \(status 3\)[^$]*on fire"):
        EmbeddedPostgres(tmp_path / "new" / "data", binaries=binaries).start()
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".data.lock"]


@pytest.mark.process
def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with EmbeddedPostgres(tmp_path / "data", fsync=False) as server:
        assert query(server.url(), "SELECT 1") == 1


@pytest.mark.process
def test_a_second_server_on_the_same_directory_is_refused(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        in_use = f"in use by process {os.getpid()}"
        with pytest.raises(EmbeddedPostgresError, match=in_use):
            EmbeddedPostgres(data_dir).start()
        other = subprocess.run(
            [sys.executable, "-c", HOLD, data_dir],
            check=False,
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
        )
        assert in_use in other.stderr
        assert kept(server) == "kept"


def test_a_server_that_somebody_else_started_is_left_alone(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        (data_dir.parent / ".data.lock").unlink()
        pid = server_pid(data_dir)
        with pytest.raises(EmbeddedPostgresError, match=f"in use by process {pid}"):
            EmbeddedPostgres(data_dir).start()
        assert kept(server) == "kept"


def test_another_major_version_is_refused_with_what_to_do(data_dir: Path) -> None:
    (data_dir / "PG_VERSION").write_text("16\n")
    before = sorted(data_dir.rglob("*"))
    with pytest.raises(
        EmbeddedPostgresError,
        match=r"made by Postgres 16[^$]*claim-records backup FILE[^$]*claim-records restore FILE",
    ):
        EmbeddedPostgres(data_dir).start()
    assert sorted(data_dir.rglob("*")) == before


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear reader")
    with pytest.raises(EmbeddedPostgresError, match="holds no Postgres data"):
        EmbeddedPostgres(tmp_path).start()
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_path_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedPostgresError, match=r"Cannot use the data directory .*file/data"):
        EmbeddedPostgres(tmp_path / "file" / "data").start()


def test_a_failed_start_shows_the_end_of_the_log(data_dir: Path) -> None:
    broken = EmbeddedPostgres(data_dir, settings={"max_connections": "many"})
    with pytest.raises(EmbeddedPostgresError) as caught:
        broken.start()
    assert str(data_dir / "server.log") in str(caught.value)
    assert 'invalid value for parameter "max_connections"' in str(caught.value)
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        assert kept(server) == "kept"


def test_the_log_holds_no_values_of_failed_statements(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            query(server.url(), "SELECT 'the source is Deep Throat'::integer")
        assert "ready to accept connections" in server.log.read_text()
        assert "Deep Throat" not in server.log.read_text()


def test_the_log_is_cut_at_a_start(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, fsync=False)
    server.log.write_text("x" * 1_000_001)
    with server:
        assert server.log.stat().st_size < 10_000
        assert (data_dir / "server.log.1").stat().st_size == 1_000_001


@pytest.mark.parametrize("name", ["with space/data", "a,b'\"%&?ü/data", "long" * 30 + "/data"])
@pytest.mark.process
def test_any_path_gets_a_socket_clients_can_name(made: Path, tmp_path: Path, name: str) -> None:
    data_dir = tmp_path / name
    data_dir.parent.mkdir()
    subprocess.run(["cp", "-Rp", made, data_dir], check=True)
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        assert kept(server) == "kept"
        parsed = make_url(server.url())
        sockets = Path(str(parsed.query["host"]))
        assert (sockets / f".s.PGSQL.{parsed.query['port']}").is_socket()
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert (parsed.username, parsed.database) == ("postgres", "claim_records")
        assert running_url(data_dir) == server.url()
    assert sockets.exists() == (sockets == data_dir)


@pytest.mark.process
def test_a_socket_directory_left_by_a_kill_is_removed(made: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 30) / "data"
    data_dir.parent.mkdir()
    subprocess.run(["cp", "-Rp", made, data_dir], check=True)
    with script(HOLD, data_dir) as process:
        url = said_url(process)
        process.kill()
    left = Path(str(make_url(url).query["host"]))
    assert left.exists()
    with EmbeddedPostgres(data_dir, fsync=False):
        assert not left.exists()


def test_missing_binaries_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"Install Postgres[^$]*DATABASE_URL"):
        find_binaries([tmp_path])


def test_binaries_of_the_wheel_come_first_then_the_newest_found(tmp_path: Path) -> None:
    for version in ("9.6", "16", "15"):
        directory = tmp_path / version / "bin"
        directory.mkdir(parents=True)
        write_program(directory / "postgres", "")
        write_program(directory / "initdb", "")
    (tmp_path / "17" / "bin").mkdir(parents=True)  # a client-only package
    found = list(candidate_directories("no_such_package", [f"{tmp_path}/*/bin"]))
    assert [path.parent.name for path in found[-4:]] == ["17", "16", "15", "9.6"]
    assert find_binaries(found[-4:]) == tmp_path / "16" / "bin"
    wheel = next(candidate_directories("pytest", []))
    assert wheel == Path(pytest.__file__).parent / "pginstall" / "bin"


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("echo 'postgres (PostgreSQL) 14.2'", "15 or newer is needed"),
        ("exit 127", "does not run here"),
    ],
)
def test_binaries_that_will_not_do_are_refused(tmp_path: Path, does: str, message: str) -> None:
    write_program(tmp_path / "postgres", does)
    with pytest.raises(EmbeddedPostgresError, match=message):
        EmbeddedPostgres(tmp_path / "data", binaries=tmp_path).start()
    assert not (tmp_path / "data").exists()


def test_the_server_sees_none_of_our_secrets(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAIM_RECORDS_SECRET", "s3cret")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("LC_ALL", "xx_XX")
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        path = f"/proc/{server_pid(data_dir)}/environ"
        if LINUX:
            seen = query(server.url(), f"SELECT pg_read_binary_file('{path}', 0, 10000)")
            assert seen
            assert b"s3cret" not in seen


def write_program(path: Path, does: str) -> None:
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)


def process_status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


if not ROOT or LINUX:

    @pytest.mark.process
    def test_an_ordinary_user_needs_nothing_special() -> None:
        home = Path(tempfile.mkdtemp(prefix="home-"))
        try:
            os.chown(home, ORDINARY if ROOT else -1, -1)
            for _ in range(2):
                with script(HOLD, home / "data", through=as_ordinary_user()) as process:
                    assert query(said_url(process), "SELECT 1") == 1
                    assert (home / "data").stat().st_uid == (ORDINARY if ROOT else os.geteuid())
                    process.stdin.close()
                    assert process.wait() == 0
        finally:
            shutil.rmtree(home)


if ROOT:

    @pytest.mark.process
    def test_root_may_serve_what_an_ordinary_user_made(data_dir: Path) -> None:
        subprocess.run(["chown", "-R", f"{ORDINARY}:{ORDINARY}", data_dir], check=True)
        with EmbeddedPostgres(data_dir, fsync=False) as server:
            assert kept(server) == "kept"
        assert {path.stat().st_uid for path in data_dir.rglob("*")} == {ORDINARY}

    def test_data_that_belongs_to_root_is_refused_with_what_to_do(data_dir: Path) -> None:
        subprocess.run(["chown", "-R", "0:0", data_dir], check=True)
        with pytest.raises(EmbeddedPostgresError, match="chown -R 65534:65534"):
            EmbeddedPostgres(data_dir).start()


if ROOT and LINUX:

    @pytest.mark.process
    def test_a_user_without_a_passwd_entry_is_told_so() -> None:
        home = Path(tempfile.mkdtemp(prefix="home-"))
        os.chown(home, UNLISTED, UNLISTED)
        try:
            refused = subprocess.run(
                [*as_user(UNLISTED), sys.executable, "-c", HOLD, home / "data"],
                check=False,
                capture_output=True,
                text=True,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            )
        finally:
            shutil.rmtree(home)
        assert "uid 54321 has no entry in /etc/passwd" in refused.stderr

    # Start again with the capabilities Docker leaves to root, by dropping all others (prctl 24).
    DOCKER = f"""
import ctypes, os, sys
for capability in set(range(64)) - {{0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}}:
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-c", {HOLD!r}, *sys.argv[1:]])
"""

    @pytest.mark.parametrize("source", [HOLD, DOCKER], ids=["full", "docker"])
    @pytest.mark.process
    def test_root_is_dropped_and_a_closed_home_stays_closed(tmp_path: Path, source: str) -> None:
        home = tmp_path / "home"
        home.mkdir(mode=0o700)
        data_dir = home / "data"
        with script(source, data_dir) as process:
            url = said_url(process)
            assert query(url, "CREATE TABLE t ()", "CHECKPOINT", "SELECT 1") == 1
            pid = server_pid(data_dir)
            status = process_status(pid)
            assert status["Uid"] == status["Gid"] == [str(NOBODY)] * 4
            assert status["Groups"] == []
            assert int(status["CapEff"][0], 16) == int(status["CapPrm"][0], 16) == 1 << 1
            process.kill()
        wait_for(lambda: not is_alive(pid))
        assert (home.stat().st_uid, stat.S_IMODE(home.stat().st_mode)) == (0, 0o700)
        assert re.fullmatch("drwx------", stat.filemode(data_dir.stat().st_mode))
