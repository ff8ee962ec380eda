"""`claim-records mirror`: a copy that is whole, exact and current, whatever is killed meanwhile.

It is run as whoever runs it does, beside a service that listens; between the two stands a line that
can be cut or held.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api.access import keyring
from schemas.vocabularies import Scope
from tests.conftest import KEY, PATIENCE, allow, bearer, cloned
from tests.test_cli import (
    COMMAND,
    REPOSITORY,
    environment,
    eventually,
    execute,
    serving,
)
from tests.world import MINIMAL

Record = dict[str, Any]
Rows = dict[tuple[str, str], tuple[int, str]]  # version and doc, by type and id
PLURALS = {"source": "sources", "article": "articles", "claim": "claims", "denial": "denials"}
MANY = 1_200  # records: some batches of the mirror's


# --- the source ----------------------------------------------------------------------------------


class Source:
    """A service, and the database that it stands on."""

    def __init__(self, address: str, database: str) -> None:
        self.address = address
        self.database = database
        self.client = httpx.Client(base_url=address, headers=bearer(KEY), timeout=PATIENCE)

    def add(self, plural: str = "sources", **fields: Any) -> Record:
        answer = self.client.post(f"/v1/{plural}", json={**MINIMAL[plural], **fields})
        assert answer.status_code == 201, answer.text
        found: Record = answer.json()
        return found

    def add_many(self, count: int = MANY) -> None:
        """Create records at once, each of them hard to compress."""
        lines = [
            {"type": "source", "data": {**MINIMAL["sources"], "note": os.urandom(400).hex()}}
            for _ in range(count)
        ]
        answer = self.client.post(
            "/v1/import?atomic=true",
            content="\n".join(map(json.dumps, lines)),
            headers={"content-type": "application/x-ndjson"},
        )
        assert json.loads(answer.text.splitlines()[-1])["totals"]["created"] == count

    def patch(self, plural: str, record: Record, **fields: Any) -> None:
        answer = self.client.patch(
            f"/v1/{plural}/{record['id']}",
            content=json.dumps(fields),
            headers={"content-type": "application/merge-patch+json", "if-match": "*"},
        )
        assert answer.status_code == 200, answer.text

    def delete(self, plural: str, record: Record) -> None:
        answer = self.client.delete(f"/v1/{plural}/{record['id']}", headers={"if-match": "*"})
        assert answer.status_code == 204, answer.text

    def restore(self, plural: str, record: Record) -> None:
        answer = self.client.post(f"/v1/{plural}/{record['id']}/restore", headers={"if-match": "*"})
        assert answer.status_code == 200, answer.text

    def merge(self, record: Record, survivor: Record) -> None:
        """Merge a source, and wait until all that named it has followed."""
        path = f"/v1/sources/{survivor['id']}/merge"
        body = {"source_id": record["id"]}
        answer = self.client.post(path, json=body, headers={"if-match": "*"})
        assert answer.status_code == 200, answer.text
        path = f"/v1/sources/{record['id']}/merges"
        eventually(lambda: self.client.get(path).json()["items"][0]["state"] == "done")

    def rows(self, where: str = "true") -> Rows:
        """Read what a copy has to be: each record as `GET` gives it, from behind."""
        union = " UNION ALL ".join(
            f"SELECT '{of}', id::text, version, convert_from(doc, 'UTF8') FROM {plural}"
            f" WHERE deleted_at IS NULL AND {where}"
            for of, plural in PLURALS.items()
        )
        found = asyncio.run(fetch(self.database, union))
        return {(of, identity): (version, doc) for of, identity, version, doc in found}


async def fetch(url: str, text: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(text)]
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, template: str) -> Iterator[Source]:
    """Serve a database of this module's own, to which each test adds."""
    with asyncio.Runner() as runner:
        database = cloned(template)
        url = runner.run(database.__aenter__())
        runner.run(allow(url))
        try:
            with serving(
                tmp_path_factory.mktemp("source"),
                DATABASE_URL=url,
                CLAIM_RECORDS_RATE_PER_MINUTE="0",
            ) as service:
                found = Source(service.address, url)
                with found.client:
                    yield found
        finally:
            runner.run(database.__aexit__(None, None, None))


class Line:
    """A line to a service that can be held or cut: a forwarder of TCP."""

    def __init__(self, address: str, port: int = 0) -> None:
        """Listen on a port of its own."""
        place = urlsplit(address)
        self._behind = place.hostname, place.port
        self._listener = socket.create_server(("127.0.0.1", port), reuse_port=True)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.opened = 0
        self.most = 10**12  # bytes of answers that a connection lets through
        self.cut = False  # instead of holding the rest back
        # For the first connections: how much of the answers passes, or what is answered instead.
        self.first: list[int | bytes] = []
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                most = self.first.pop(0) if self.first else self.most
                if isinstance(most, bytes):
                    threading.Thread(target=answer, args=(client, most), daemon=True).start()
                    continue
                server = socket.create_connection(self._behind)
                self._sockets += [client, server]
                self.opened += 1
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(
                    target=self._forward, args=(server, client, most), daemon=True
                ).start()

    def _forward(self, here: socket.socket, there: socket.socket, left: int = 10**12) -> None:
        with suppress(OSError):
            while left and (data := here.recv(min(left, 16_384))):
                there.sendall(data)
                left -= len(data)
            if left or self.cut:
                there.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        """Cut what is open; what comes now passes."""
        self.most = 10**12
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in it
        self._listener.close()
        self.let_go()
        for each in self._sockets:
            each.close()


def answer(client: socket.socket, text: bytes) -> None:
    """Answer whatever is asked with this text, and close the connection."""
    with client, suppress(OSError):
        client.recv(65_536)
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65_536):
            pass


@pytest.fixture
def line(source: Source) -> Iterator[Line]:
    with closing(Line(source.address)) as found:
        yield found


# --- the copy ------------------------------------------------------------------------------------


class Target:
    """A copy, as whoever uses it reads it."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory

    def query(self, text: str) -> list[tuple[Any, ...]]:
        if "://" in self.name:
            return asyncio.run(fetch(self.name, text))
        with closing(sqlite3.connect(self.name)) as connection:
            return connection.execute(text).fetchall()

    def rows(self) -> Rows:
        found = self.query("SELECT type, id, version, doc FROM mirror_records")
        return {(of, identity): (version, doc) for of, identity, version, doc in found}

    def count(self) -> int:
        """Count the records; none before there is a table."""
        with suppress(sqlite3.OperationalError, asyncpg.UndefinedTableError):
            found: int = self.query("SELECT count(*) FROM mirror_records")[0][0]
            return found
        return 0

    def state(self) -> tuple[Any, ...]:
        return self.query("SELECT phase, generation, cursor FROM mirror_state")[0]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.process)])
def target(request: pytest.FixtureRequest, tmp_path: Path, template: str) -> Iterator[Target]:
    """Make an empty place for a copy, of each kind."""
    if request.param == "sqlite":
        yield Target(str(tmp_path / "copy.db"), tmp_path)
        return
    with asyncio.Runner() as runner:
        database = cloned(template)  # that it has our tables too is of no matter
        url = runner.run(database.__aenter__())
        yield Target(url, tmp_path)
        runner.run(database.__aexit__(None, None, None))


@pytest.fixture
def file(tmp_path: Path) -> Target:
    return Target(str(tmp_path / "copy.db"), tmp_path)


class Mirror:
    """A running `mirror`, and what it said."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def mirroring(address: str, target: Target, *arguments: str, key: str = KEY) -> Iterator[Mirror]:
    """Run `mirror` until the end of the block."""
    log = target.directory / f"mirror-{uuid4().hex}"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*COMMAND, "mirror", "--from", address, "--to", target.name, *arguments],
            stderr=stderr,
            cwd=REPOSITORY,
            env=environment(MIRROR_KEY=key),
        )
    with process:
        try:
            yield Mirror(process, log)
        finally:
            process.kill()
            assert key[-36:] not in log.read_text()


def once(address: str, target: Target, *arguments: str, key: str = KEY) -> tuple[int, str]:
    """Run `mirror --once`; give the exit code and what it said."""
    with mirroring(address, target, "--once", *arguments, key=key) as mirror:
        code = mirror.process.wait(PATIENCE)
        return code, mirror.log


def same(source: Source, target: Target) -> Callable[[], bool]:
    """Give what tells whether a copy is its source, byte for byte."""
    wanted = source.rows()
    return lambda: target.count() == len(wanted) and target.rows() == wanted


def reader(source: Source) -> str:
    """Make a key that reads what is public."""
    key = keyring.written(uuid4().hex[:12], "1" * 30)
    return asyncio.run(allow(source.database, key, {Scope.READ}))


# --- a copy that is right ------------------------------------------------------------------------


def some_records(source: Source) -> dict[str, Record]:
    """Create a record of each type, of which one is a draft and one confidential."""
    found = {
        "mp": source.add(name="Lee “the MP” \u2028 \U0001f5de", tags=["ä/\\b"]),
        "mole": source.add(confidentiality="protected"),
        "report": source.add("articles", text="Lee\u2028says\nso. " * 5_000),
        "draft": source.add(
            "claims",
            quantities=[
                {
                    "metric": "killed",
                    "qualifier": "exact",
                    "unit": "person",
                    "value": 1e3,
                    "printed": "1,000",
                }
            ],
        ),
        "said": source.add("claims", review_status="published"),
    }
    claim = found["said"]["id"]
    found["no"] = source.add("denials", targets=[{"claim_id": claim}], review_status="published")
    return found


@pytest.mark.process
def test_a_copy_is_made_and_follows_every_sort_of_change(source: Source, target: Target) -> None:
    records = some_records(source)
    with mirroring(source.address, target) as mirror:
        eventually(same(source, target))
        for (of, identity), (version, doc) in target.rows().items():
            answer = source.client.get(f"/v1/{PLURALS[of]}/{identity}")
            assert (answer.content, answer.json()["version"]) == (doc.encode(), version)
        source.add("claims", text="Said later")
        source.patch("sources", records["mp"], note="Changed")
        source.patch("claims", records["said"], note="Changed", certainty="probable")
        eventually(same(source, target))
        source.delete("denials", records["no"])
        eventually(same(source, target))
        assert ("denial", records["no"]["id"]) not in target.rows()
        source.restore("denials", records["no"])
        eventually(same(source, target))
        assert target.rows()["denial", records["no"]["id"]][0] == 3
        twin = source.add(name="Lee")
        source.add("claims", attributions=[{"position": 0, "source_id": twin["id"]}])
        source.merge(twin, records["mp"])
        eventually(same(source, target))
        assert mirror.stop() == 0
        assert "up to date" in mirror.log
        assert "warning" not in mirror.log


@pytest.mark.process
@pytest.mark.newest
def test_what_the_key_may_not_see_is_not_copied_or_is_removed(source: Source, file: Target) -> None:
    records = some_records(source)
    key = reader(source)

    def right() -> bool:
        return file.count() > 0 and file.rows() == source.rows("visibility = 0")

    with mirroring(source.address, file, key=key):
        eventually(right)
        assert ("claim", records["draft"]["id"]) not in file.rows()
        source.patch("claims", records["said"], review_status="draft")
        eventually(lambda: right() and ("claim", records["said"]["id"]) not in file.rows())
        source.patch("claims", records["said"], review_status="published")
        source.patch("claims", records["draft"], review_status="published")
        source.patch("sources", records["mp"], confidentiality="protected")
        eventually(lambda: right() and ("claim", records["draft"]["id"]) in file.rows())
        source.delete("denials", records["no"])
        eventually(right)


@pytest.mark.process
@pytest.mark.newest
def test_a_key_that_sees_more_makes_the_copy_anew(source: Source, file: Target) -> None:
    some_records(source)
    key = reader(source)
    assert once(source.address, file, key=key)[0] == 0
    assert file.rows() == source.rows("visibility = 0")
    code, log = once(source.address, file)
    assert (code, file.rows()) == (0, source.rows())
    assert "A new export is needed" in log
    assert file.state()[:2] == ("following", 2)


@pytest.mark.process
def test_a_key_that_sees_less_leaves_nothing_of_what_another_saw(
    source: Source, target: Target
) -> None:
    records = some_records(source)
    assert once(source.address, target)[0] == 0
    assert target.rows() == source.rows()
    key = reader(source)
    assert once(source.address, target, key=key)[0] == 0
    assert target.rows() == source.rows("visibility = 0")
    source.delete("claims", records["draft"])
    source.add("claims", review_status="published")
    assert once(source.address, target, key=key)[0] == 0
    assert target.rows() == source.rows("visibility = 0")
    assert target.state()[:2] == ("following", 2)


@pytest.mark.process
def test_a_rotated_key_is_the_same_reader(source: Source, target: Target) -> None:
    source.add()
    key = reader(source)
    assert once(source.address, target, key=key)[0] == 0
    path = f"/v1/keys/{keyring.identity_of(key)}/rotate"
    answer = source.client.post(path, json={"overlap_seconds": 0})
    assert answer.status_code == 200, answer.text
    source.add()
    code, log = once(source.address, target, key=answer.json()["key"])
    assert (code, target.rows()) == (0, source.rows("visibility = 0"))
    assert "A new export is needed" not in log
    assert target.state()[:2] == ("following", 1)


@pytest.mark.process
@pytest.mark.newest
def test_only_the_types_that_are_wanted_are_copied(source: Source, file: Target) -> None:
    some_records(source)
    for types, wanted in (
        ("claim,denial", {"claim", "denial"}),
        ("claim", {"claim"}),
        ("source,claim", {"claim", "source"}),
    ):
        assert once(source.address, file, "--types", types)[0] == 0
        expected = {name: row for name, row in source.rows().items() if name[0] in wanted}
        assert file.rows() == expected
        source.add("claims")
        source.add("articles")
    assert file.state()[1] == 3


@pytest.mark.process
def test_a_copy_of_all_records_names_no_types(source: Source, file: Target) -> None:
    """So it goes on when the source gets another type; as do copies that still name all four."""
    some_records(source)
    assert once(source.address, file)[0] == 0
    assert file.query("SELECT types FROM mirror_state") == [("",)]
    with closing(sqlite3.connect(file.name)) as connection:
        connection.execute("UPDATE mirror_state SET types = 'source,article,claim,denial'")
        connection.commit()
    source.add()
    code, log = once(source.address, file)
    assert (code, file.rows()) == (0, source.rows())
    assert "A new export is needed" not in log
    assert file.query("SELECT types, generation FROM mirror_state") == [("", 1)]


# --- killed, cut off, away -----------------------------------------------------------------------


@pytest.mark.process
def test_killed_while_it_copies_it_goes_on_without_ghosts(
    source: Source, target: Target, line: Line
) -> None:
    changed = source.add()
    source.add_many()
    line.most = 400_000
    with mirroring(line.address, target) as mirror:
        eventually(lambda: target.count() > 0)
        mirror.kill()
    assert 0 < target.count() < len(source.rows())
    phase, generation, cursor = target.state()
    assert (phase, generation) == ("copying", 1)
    copied = {identity for of, identity in target.rows() if of == "source"}
    ghost = next(iter(copied - {changed["id"]}))
    source.delete("sources", {"id": ghost})
    source.patch("sources", changed, note="Changed")
    source.add()
    line.let_go()
    line.most = 400_000
    with mirroring(line.address, target) as mirror:
        eventually(lambda: line.opened > 1 and target.state() == (phase, generation, cursor))
        mirror.kill()
    line.let_go()
    code, log = once(line.address, target)
    assert (code, target.rows()) == (0, source.rows()), log
    assert target.state()[:2] == ("following", 1)
    assert ("source", ghost) not in target.rows()


@contextmanager
def writing(source: Source) -> Iterator[None]:
    """Change, delete, restore and create records until the end of the block."""
    records = [source.add() for _ in range(5)]
    enough = threading.Event()

    def write() -> None:
        writer = Source(source.address, source.database)
        with writer.client:
            for number in itertools.takewhile(lambda _: not enough.is_set(), itertools.count()):
                record = records[number % 5]
                if number % 7 == 3:
                    writer.delete("sources", record)
                    writer.restore("sources", record)
                writer.patch("sources", record, note=f"{number}")
                writer.add()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


@pytest.mark.process
def test_killed_while_it_follows_it_applies_exactly_once(source: Source, target: Target) -> None:
    assert once(source.address, target)[0] == 0
    with writing(source):
        for _ in range(3):
            enough = target.count() + 10
            with mirroring(source.address, target) as mirror:
                eventually(lambda enough=enough: target.count() > enough)  # type: ignore[misc]
                mirror.kill()
    code, log = once(source.address, target)
    assert (code, target.rows()) == (0, source.rows()), log
    assert "A new export is needed" not in log
    assert target.state()[:2] == ("following", 1)


@pytest.mark.process
@pytest.mark.newest
def test_an_export_that_was_cut_off_is_taken_again(
    source: Source, file: Target, line: Line
) -> None:
    source.add_many()
    line.cut, line.most = True, 400_000
    with mirroring(line.address, file, "--once") as mirror:
        eventually(lambda: "Going on in" in mirror.log)
        assert file.state()[0] == "copying"
        line.most = 10**12
        assert mirror.process.wait(PATIENCE) == 0
    assert file.rows() == source.rows()


@pytest.mark.process
def test_a_source_that_goes_away_and_comes_back_is_caught_up_with(
    source: Source, target: Target
) -> None:
    source.add()
    line = Line(source.address)
    port = int(line.address.rpartition(":")[2])
    with mirroring(line.address, target) as mirror, socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", port))  # so that nobody else takes the port meanwhile
        eventually(lambda: "up to date" in mirror.log)
        line.close()
        eventually(lambda: "out of reach" in mirror.log)
        source.add()
        with closing(Line(source.address, port)):
            eventually(same(source, target))
            assert mirror.stop(signal.SIGINT) == 0


@pytest.mark.process
def test_a_source_that_was_restored_from_a_backup_leaves_no_ghosts(
    source: Source, target: Target
) -> None:
    """The backup has an older version of one record, and not the newest record at all."""
    kept, changed, new = source.add(), source.add(), source.add()
    source.patch("sources", changed, note="Once")
    assert once(source.address, target)[0] == 0
    later = source.rows()
    assert target.rows() == later
    asyncio.run(
        execute(
            source.database,
            "SET session_replication_role = replica",
            f"DELETE FROM sources WHERE id = '{new['id']}'",
            f"UPDATE sources SET version = 1, doc = convert_to('{json.dumps(changed)}', 'UTF8')"
            f" WHERE id = '{changed['id']}'",
            NEW_EPOCH,
        )
    )
    eventually(lambda: source.client.get("/v1/changes?since=now").status_code == 200)
    code, log = once(source.address, target)
    assert (code, target.rows()) == (0, source.rows()), log
    assert "A new export is needed" in log
    assert ("source", new["id"]) not in target.rows()
    assert target.rows()["source", changed["id"]][0] == 1
    assert ("source", kept["id"]) in target.rows()
    assert target.state()[1] == 2


# What `sequence_feed` finds where a backup was restored: that the feed lives somewhere else.
NEW_EPOCH = """
    UPDATE feed_states SET place = 'elsewhere' WHERE id = (SELECT max(id) FROM feed_states)"""


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.newest
def test_a_wrong_key_ends_it_and_says_where_the_key_goes(source: Source, file: Target) -> None:
    false = keyring.written("ba9876543210", "1" * 30)
    code, log = once(source.address, file, key=false)
    assert code == 1
    assert log.splitlines()[-1].startswith("Error: The source refuses: /v1/export answered 401")
    assert "MIRROR_KEY" in log
    assert file.count() == 0


@pytest.mark.process
@pytest.mark.newest
def test_a_key_that_is_revoked_ends_it(source: Source, file: Target) -> None:
    key = reader(source)
    with mirroring(source.address, file, key=key) as mirror:
        eventually(lambda: "up to date" in mirror.log)
        revoked = source.client.delete(f"/v1/keys/{keyring.identity_of(key)}")
        assert revoked.is_success, revoked.text
        source.add()
        assert mirror.process.wait(PATIENCE) == 1
        assert "401" in mirror.log


@pytest.mark.process
def test_two_at_once_do_not_write_to_one_copy(source: Source, target: Target) -> None:
    source.add()
    with mirroring(source.address, target):
        eventually(same(source, target))
        code, log = once(source.address, target)
        assert code == 1
        assert "Another mirror writes to" in log


@pytest.mark.process
@pytest.mark.newest
def test_a_copy_of_another_source_is_left_alone(source: Source, file: Target, line: Line) -> None:
    source.add()
    assert once(source.address, file)[0] == 0
    before = file.rows()
    code, log = once(line.address, file)
    assert (code, file.rows()) == (1, before)
    assert f"This is a copy of {source.address}" in log


@pytest.mark.parametrize(
    ("address", "to", "code"),
    [
        ("ftp://127.0.0.1/", "copy.db", 2),
        ("http://user:secret@127.0.0.1/", "copy.db", 2),
        ("http://127.0.0.1:9/", "mysql://127.0.0.1/x", 2),
        ("http://127.0.0.1:9/", "postgresql://127.0.0.1:9/x", 3),
        ("http://127.0.0.1:9/", "no/such/place.db", 3),
    ],
)
@pytest.mark.process
@pytest.mark.newest
def test_what_cannot_be_is_refused_in_a_line(
    tmp_path: Path, address: str, to: str, code: int
) -> None:
    name = str(tmp_path / to) if to.endswith(".db") else to
    found, log = once(address, Target(name, tmp_path))
    assert found == code, log
    assert (log.count("\n"), log.startswith("Error: ")) == (1, True), log
    assert "secret" not in log


@pytest.mark.process
@pytest.mark.newest
def test_a_signal_before_it_is_done_is_told(file: Target) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with mirroring(address, file, "--once") as mirror:
            silent.accept()[0].close()
            eventually(lambda: "Going on in" in mirror.log)
            assert mirror.stop() == 128 + signal.SIGTERM
