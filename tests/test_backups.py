"""A backup holds everything as it was at one moment, and a restore gives it back, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from api.access import keyring
from api.embedded import EmbeddedPostgres, find_of_major
from api.embedded.binaries import major_version
from api.server import backups, schema
from schemas.vocabularies import Scope
from tests.conftest import allow, bearer, in_database, serving
from tests.factories import EVERY, create
from tests.test_changes import cursor_of, refused, walk
from tests.test_cli import Run, execute, run, url  # noqa: F401 - fixtures

DEBIAN = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
def target(url: str) -> Iterator[str]:  # noqa: F811
    """Make an empty database on the same server."""
    name, server = f"restored_{uuid4().hex}", in_database(url, "postgres")
    asyncio.run(execute(server, f"CREATE DATABASE {name} TEMPLATE template0"))
    yield in_database(server, name)
    asyncio.run(execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


async def relations(url: str) -> int:  # noqa: F811
    """Count the tables and the like of a database."""
    connection = await asyncpg.connect(url)
    try:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        )
        return count
    finally:
        await connection.close()


async def everything(url: str) -> dict[str, list[Any]]:  # noqa: F811
    """Read all rows of all tables but those of the feed's state, which begins anew.

    The time of the clock of embargoes is left out: it goes on while the service runs.
    """
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        return {
            name: await connection.fetch(
                f"SELECT (to_jsonb(t) - 'xid'{without})::text AS row FROM {name} AS t ORDER BY 1"
            )
            for (name,) in tables
            for without in [" - 'at'" if name == "embargo_clock" else ""]
            if name != "feed_states"
        }
    finally:
        await connection.close()


@pytest.mark.usefixtures("resting_matching")
def test_a_backup_while_writing_is_restored_as_it_was(
    tmp_path: Path,
    url: str,  # noqa: F811
    target: str,
) -> None:
    asyncio.run(_back_up_and_restore(tmp_path, url, target))


async def _back_up_and_restore(tmp_path: Path, url: str, target: str) -> None:  # noqa: F811
    file = tmp_path / "backup"
    async with serving(url) as client:
        for noun in EVERY.values():
            await create(client, noun)
        since = await cursor_of(client)
        revoked = await allow(url, keyring.new_key(), [Scope.READ])
        before = await everything(url)
        size = await asyncio.to_thread(backups.back_up, url, file)
        assert size == file.stat().st_size > 10_000
        assert file.stat().st_mode & 0o777 == 0o600
        await create(client, next(iter(EVERY.values())))
        await client.delete(f"/v1/keys/{keyring.identity_of(revoked)}")
        restored = await asyncio.to_thread(backups.restore, target, file, url)
        assert restored.keys == 1
        after = await everything(target)
        identity = keyring.identity_of(revoked) or ""
        (was,) = [each for each in before.pop("keys") if identity in each["row"]]
        (now,) = [each for each in after.pop("keys") if identity in each["row"]]
        assert '"revoked_at": null' in was["row"]
        assert '"revoked_at": null' not in now["row"]
        assert after == before
        connection = await asyncpg.connect(target)
        public = "SELECT has_function_privilege('public', 'sequence_feed(boolean)', 'EXECUTE')"
        assert not await connection.fetchval(public)
        await connection.close()
        await schema.grant(target, schema.SERVICE_ROLE)
        async with serving(target) as again:
            assert await refused(again, since=since) == (410, "resync-required")
            assert [item["type"] for item in await walk(again)] == list(EVERY)
            assert (await again.get("/v1/me", headers=bearer(revoked))).status_code == 401
            made = await create(again, next(iter(EVERY.values())))
            assert (await walk(again))[-1]["id"] == made.id


def test_a_backup_is_not_restored_over_anything(
    tmp_path: Path,
    url: str,  # noqa: F811
    run: Run,  # noqa: F811
) -> None:
    file = tmp_path / "backup"
    made = run("backup", str(file), DATABASE_URL=url)
    assert (made.code, made.out.startswith(f"{file} holds the database: ")) == (0, True)
    again = run("backup", str(file), DATABASE_URL=url)
    assert (again.code, "exists already" in again.err) == (1, True)
    refused_ = run("restore", str(file), DATABASE_URL=url)
    assert (refused_.code, "is not empty" in refused_.err) == (1, True)
    assert [each.name for each in tmp_path.iterdir()] == ["backup"]


@pytest.mark.parametrize("damage", ["cut off", "changed", "another file"])
def test_a_damaged_backup_restores_nothing(
    tmp_path: Path,
    url: str,  # noqa: F811
    target: str,
    run: Run,  # noqa: F811
    damage: str,
) -> None:
    file = tmp_path / "backup"
    assert run("backup", str(file), DATABASE_URL=url).code == 0
    content = file.read_bytes()
    if damage == "cut off":
        content = content[: len(content) * 9 // 10]
    elif damage == "changed":
        middle = len(content) - 800  # among the data, which stand behind the list of contents
        content = content[:middle] + bytes(100) + content[middle + 100 :]
    else:
        content = b"SELECT 1;"
    file.write_bytes(content)
    found = run("restore", str(file), DATABASE_URL=target)
    assert (found.code, found.out) == (1, ""), found.err
    assert f"Error: {file} is damaged, or is no backup." in found.err
    assert asyncio.run(relations(target)) == 0


def test_keys_that_cannot_be_compared_are_named(
    tmp_path: Path,
    url: str,  # noqa: F811
    target: str,
    run: Run,  # noqa: F811
) -> None:
    file = tmp_path / "backup"
    assert run("backup", str(file), DATABASE_URL=url).code == 0
    away = "postgresql://me:s3cret@127.0.0.1:1/x"
    found = run("restore", str(file), "--keys-from", away, DATABASE_URL=target)
    assert found.code == 0, found.err
    assert "revoked after the backup work again" in found.out
    assert "s3cret" not in found.err


@pytest.mark.process
@pytest.mark.newest
@pytest.mark.skipif(not DEBIAN.exists(), reason="there is no Postgres 15 here")
def test_data_of_an_older_major_version_is_moved(tmp_path: Path, run: Run) -> None:  # noqa: F811
    """With the programs of both versions, as the error of `serve` says."""
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "backup"
    assert major_version(find_of_major("postgres", 18).parent) == 18

    async def write(server: str) -> list[Any]:
        await schema.migrate(server)
        await schema.create_role(server, schema.SERVICE_ROLE)
        await schema.grant(server, schema.SERVICE_ROLE)
        async with serving(server) as client:
            for noun in EVERY.values():
                await create(client, noun)
            return await walk(client)

    with EmbeddedPostgres(old, binaries=DEBIAN) as server:
        before = asyncio.run(write(server.url()))
    refused_ = run("migrate", "--data-dir", str(old))
    assert (refused_.code, "claim-records backup FILE" in refused_.err) == (1, True)
    made = run("backup", str(file), "--data-dir", str(old))
    assert made.code == 0, made.err
    done = run("restore", str(file), "--data-dir", str(new))
    assert done.code == 0, done.err
    assert "work again" in done.out

    async def read(server: str) -> list[Any]:
        await schema.create_role(server, schema.SERVICE_ROLE)
        await schema.grant(server, schema.SERVICE_ROLE)
        async with serving(server) as client:
            return await walk(client)

    with EmbeddedPostgres(new) as server:
        assert asyncio.run(read(server.url())) == before


def test_a_password_is_not_among_the_arguments() -> None:
    arguments, environment = backups._connection(  # noqa: SLF001 - what other users can see
        "postgresql://me:p%40ss@one:5432,two:5432/x?role=r&target_session_attrs=read-write"
    )
    (dsn,) = arguments
    assert dsn.startswith("--dbname=postgresql://me@one:5432,two:5432/x?")
    assert "tcp_user_timeout=5000" in dsn
    assert dsn.endswith("&target_session_attrs=read-write")
    assert environment == {"PGPASSWORD": "p@ss", "PGOPTIONS": "-c role=r"}
    socket = "postgresql://postgres@/x?host=%2Ftmp%2Fd&port=5432&password=s"
    arguments, environment = backups._connection(socket)  # noqa: SLF001 - as above
    (dsn,) = arguments
    assert dsn.startswith("--dbname=postgresql://postgres@/x?")
    assert dsn.endswith("&host=%2Ftmp%2Fd&port=5432")
    assert environment == {"PGPASSWORD": "s"}
