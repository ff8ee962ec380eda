"""Unmerge: bring a merged source back as it was, and take its names and ids from the survivor.

The survivor may be merged itself by now. Then the names and external ids are taken from every
source of the chain. That records name the source again follows afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from api.core.caller import Caller
from api.core.db import Connection
from api.core.errors import NOT_FOUND, NOT_MERGED, Problem, contended
from api.core.request import Author
from api.core.sql import ACTOR, ACTOR_COLUMNS, compose, render
from api.merging import log
from api.merging.carried import MOST, Lists, Merge, rebuilt
from api.merging.log import EntryState
from api.merging.merge import KEPT, write_lists
from api.merging.pair import MAX_MERGES, MAX_WALKED
from api.merging.references import SYMMETRIC, Columns, columns_of, follow, named_sources
from api.records.sources import SOURCES
from schemas.vocabularies import RecordType

_MERGE: Final = """
    SELECT m.id, m.source_id::text, m.survivor_id::text, m.before::text, m.added::text
    FROM source_merges AS m
    WHERE m.source_id = :source_id::uuid AND m.state IN ('repointing', 'done')
    FOR UPDATE OF m"""
_LATER: Final = """
    SELECT m.id, m.before::text, m.added::text FROM source_merges AS m
    WHERE m.survivor_id = :survivor_id::uuid AND m.id >= :id AND m.state IN ('repointing', 'done')
    ORDER BY m.id
    FOR UPDATE OF m"""
_SEEN: Final = """
    SELECT count(*) FROM sources AS t
    WHERE t.id = ANY(ARRAY[:source_id::uuid, survivor_of(:source_id::uuid)]) AND :sees(source, t)"""
_ROOT: Final = "SELECT survivor_of(:source_id::uuid)::text"
_LOCK: Final = """
    SELECT t.doc FROM sources AS t WHERE t.id = :id::uuid FOR NO KEY UPDATE"""
_MAX_TRIES: Final = 5
_MERGED: Final = """
    SELECT m.source_id::text AS id, m.id AS merge_id, m.survivor_id::text AS survivor_id
    FROM source_merges AS m
    WHERE m.source_id = ANY(:ids::uuid[]) AND m.state IN ('repointing', 'done')
    ORDER BY m.id"""
# Symmetric relations to the source that comes back, which stand in the way of its own.
_STATED: Final = """
    SELECT l.owner_id::text, l.label FROM links AS l
    WHERE l.owner_id = ANY(:ids::uuid[]) AND l.owner_type = 'source' AND l.link = 'relation'
        AND l.source_id = :source_id::uuid AND l.label = ANY(:labels::text[])"""
# What each of some sources means, once the merge of the source that comes back is undone.
_MEANT: Final = """
    WITH RECURSIVE led(id, meant_id) AS (
        SELECT w.id, w.id FROM unnest(:ids::uuid[]) AS w(id)
        UNION
        SELECT led.id, m.survivor_id FROM led
        JOIN source_merges AS m ON m.source_id = led.meant_id
            AND m.state IN ('repointing', 'done')
        WHERE led.meant_id <> :source_id::uuid
    )
    SELECT led.id::text, t.id::text AS meant_id, t.live_id IS NULL AS deleted
    FROM led
    JOIN sources AS t ON t.id = led.meant_id
    WHERE t.id <> :source_id::uuid AND NOT EXISTS (
        SELECT FROM source_merges AS m
        WHERE m.source_id = t.id AND m.state IN ('repointing', 'done')
    )
    ORDER BY led.id"""
_CIRCULAR: Final = {"parent_id": "parent", "members": "member"}
"""The columns of a source in which no reference may lead back to it, with their links."""
_LEADING_BACK: Final = """
    WITH RECURSIVE walked(start, id) AS (
        SELECT s.id, s.id FROM unnest(:ids::uuid[]) AS s(id)
        UNION
        SELECT walked.start, l.source_id FROM walked
        JOIN links AS l ON l.owner_id = walked.id AND l.owner_type = 'source'
            AND l.link IN (:link::text, 'merged_into')
    )
    SELECT DISTINCT reached.start::text AS id
    FROM (SELECT start, walked.id FROM walked LIMIT {most}) AS reached
    WHERE reached.id = :source_id::uuid""".replace("{most}", f"{MAX_WALKED}")
_KEEP_BEFORE: Final = "UPDATE source_merges SET before = :before::text::json WHERE id = :id"
_KEEP_ADDED: Final = "UPDATE source_merges SET added = :added::text::json WHERE id = :id"
_RESTORE: Final = compose(
    """
    UPDATE sources AS t SET (merged_into_id, deleted_at, {columns}, {actor_columns})
        = ROW(NULL::uuid, NULL::timestamptz, {values}, {actor})
    FROM json_to_recordset(:rows::json) AS r({definitions})
    WHERE t.id = :id::uuid""",
    columns=", ".join(KEPT),
    values=", ".join(f"r.{name}" for name in KEPT),
    definitions=", ".join(f"{name} {dict(SOURCES.table.columns)[name]}" for name in KEPT),
    actor_columns=ACTOR_COLUMNS,
    actor=ACTOR,
)
# One that the source has got meanwhile, because its other side was merged, stays where it is.
_IDENTITIES: Final = """
    WITH moved AS (
        DELETE FROM source_merge_identities AS d
        WHERE d.merge_id = :merge_id::bigint AND d.moved = '{column}'
        RETURNING d.identity_id
    ), given AS (
        UPDATE source_identities AS i SET {column} = :source_id::uuid
        FROM moved
        WHERE i.id = moved.identity_id AND i.{column} = ANY(:survivors::uuid[])
            AND i.{other} <> :source_id::uuid
            AND NOT EXISTS (
                SELECT FROM source_identities AS o
                WHERE o.{column} = :source_id::uuid AND o.{other} = i.{other}
            )
        RETURNING i.id
    ), passed AS (
        DELETE FROM source_merge_identities AS d USING given
        WHERE d.identity_id = given.id AND d.moved = '{column}' AND d.merge_id > :merge_id::bigint
    )
    SELECT audited(:actor::text[], 'identity', g.id::text, 'updated') FROM given AS g"""
_NOTE: Final = """
    UPDATE source_merges SET state = 'restoring', unmerged_at = clock_timestamp() WHERE id = :id"""


class Link(NamedTuple):
    """A merge of the chain that leads from a source to the one that it means."""

    id: int
    source_id: str
    survivor_id: str
    before: dict[str, Any]


async def write_unmerge(connection: Connection, author: Author, source_id: str) -> int:
    """Undo the merge of a source, in a transaction of the caller's; give the merge's id."""
    root = await _lock_root(connection, author.caller, source_id)
    chain = await _read_chain(connection, source_id)
    await _take_back(connection, author, chain, root)
    await _restore(connection, author, chain[0])
    for column, opposite in (("source_id", "identity_id"), ("identity_id", "source_id")):
        query = render(
            compose(_IDENTITIES, column=column, other=opposite),
            merge_id=chain[0].id,
            source_id=source_id,
            survivors=[each.survivor_id for each in chain],
            actor=author.actor,
        )
        await connection.execute(*query)
    await connection.execute(*render(_NOTE, id=chain[0].id))
    return chain[0].id


async def _lock_root(connection: Connection, asker: Caller, source_id: str) -> dict[str, Any]:
    """Lock a merged source and the one that it means; give the document of that one.

    Whatever changes the chain locks that one first. It may be merged itself, or the chain
    cut, while this waits for it: then it is the wrong one.
    """
    for _ in range(_MAX_TRIES):
        await _require_seen(connection, asker, source_id)
        root_id = await connection.fetchval(*render(_ROOT, source_id=source_id))
        if root_id == source_id:
            raise Problem(NOT_MERGED)
        attempt = connection.transaction()
        await attempt.start()
        doc = await connection.fetchval(*render(_LOCK, id=root_id))
        if await connection.fetchval(*render(_ROOT, source_id=source_id)) == root_id:
            await connection.execute(*render(_LOCK, id=source_id))
            await attempt.commit()
            document: dict[str, Any] = msgspec.json.decode(doc)
            return document
        await attempt.rollback()  # and so leave the wrong one to others
    raise contended()


async def _require_seen(connection: Connection, asker: Caller, source_id: str) -> None:
    """Refuse a caller who does not see the source and the one that it means."""
    is_merged = await connection.fetchval(
        "SELECT merged_into_id IS NOT NULL FROM sources WHERE id = $1", source_id
    )
    seen = await connection.fetchval(*render(_SEEN, asker, source_id=source_id))
    if is_merged is None or seen < 1 + is_merged:
        raise Problem(NOT_FOUND, "No record has this id.")


async def _read_chain(connection: Connection, source_id: str) -> list[Link]:
    """Lock and read the merges that lead from a source to the one that it means."""
    chain: list[Link] = []
    while len(chain) <= MAX_MERGES:
        row = await connection.fetchrow(*render(_MERGE, source_id=source_id))
        if row is None:
            break
        before = msgspec.json.decode(row["before"])
        chain.append(Link(row["id"], row["source_id"], row["survivor_id"], before))
        source_id = row["survivor_id"]
    return chain


async def _take_back(
    connection: Connection, author: Author, chain: Sequence[Link], root: dict[str, Any]
) -> None:
    """Take from every source of a chain what its first one has brought."""
    brings: Lists | None = None  # what the source below brings now; null for the one to undo
    for place, link in enumerate(chain):
        above = chain[place + 1] if place + 1 < len(chain) else None
        has = root if above is None else above.before
        lists = {name: has[name] for name in ("name", *MOST)}
        query = render(_LATER, survivor_id=link.survivor_id, id=link.id)
        merges = [
            Merge(row["id"], msgspec.json.decode(row["before"]), msgspec.json.decode(row["added"]))
            for row in await connection.fetch(*query)
        ]
        lists, done = rebuilt(lists, merges, brings)
        for each in done:
            await connection.execute(*render(_KEEP_ADDED, id=each.id, added=_encoded(each.added)))
        if above is None:
            await write_lists(connection, author, link.survivor_id, lists)
        else:
            before = _encoded({**above.before, **lists})
            await connection.execute(*render(_KEEP_BEFORE, id=above.id, before=before))
        brings = lists


async def _restore(connection: Connection, author: Author, link: Link) -> None:
    """Bring a merged source back as it was; it names the survivors of merged ones."""
    content = await _with_live_sources(connection, link)
    query = render(_RESTORE, id=link.source_id, rows=_encoded([content]), actor=author.actor)
    await connection.execute(*query)


async def _with_live_sources(connection: Connection, link: Link) -> dict[str, Any]:
    """Let what a source has named name the survivors of what was merged meanwhile.

    What was deleted meanwhile can't be named, nor can a parent or member that leads back to the
    source by now. These references are left out, and the log tells where they stood.
    """
    columns = columns_of(SOURCES)
    content = await _without_lost(connection, link, columns)
    for _ in range(MAX_MERGES):
        ids = list({each for _, each in named_sources(content, columns)})
        merged = await connection.fetch(*render(_MERGED, ids=ids))
        survivors = [row["survivor_id"] for row in merged]
        query = render(_STATED, ids=survivors, source_id=link.source_id, labels=list(SYMMETRIC))
        stated = await connection.fetch(*query) if merged else []
        for row in merged:
            survivor_id = row["survivor_id"]
            taken = {(link.source_id, kind) for owner, kind in stated if owner == survivor_id}
            new, followed = follow(content, columns, link.source_id, row["id"], survivor_id, taken)
            content |= new
            followed_by_all = [(link.source_id, followed)]
            await log.add(connection, row["merge_id"], RecordType.SOURCE, followed_by_all)
        if not merged:
            break
    return content


async def _without_lost(connection: Connection, link: Link, columns: Columns) -> dict[str, Any]:
    """Leave out of what a source has named what it can't name any more."""
    content = dict(link.before)
    for named, own in await _read_lost(connection, link, columns):
        # The log tells the place in the source as it was, where nothing is left out yet.
        _, dropped = follow(link.before, own, link.source_id, named, link.source_id)
        content |= follow(content, own, link.source_id, named, link.source_id)[0]
        left_out = [(link.source_id, dropped)]
        await log.add(connection, link.id, RecordType.SOURCE, left_out, EntryState.CHANGED)
    return content


async def _read_lost(
    connection: Connection, link: Link, columns: Columns
) -> list[tuple[str, Columns]]:
    """List the sources that a source can't name any more, with the columns in which it can't."""
    ids = list({each for _, each in named_sources(link.before, columns)})
    query = render(_MEANT, ids=ids, source_id=link.source_id)
    meant = {row["id"]: row for row in await connection.fetch(*query)}
    lost = [(named, columns) for named, row in meant.items() if row["deleted"]]
    for column, kind in _CIRCULAR.items():
        own = {column: columns[column]}
        named_here = {each for _, each in named_sources(link.before, own)} & meant.keys()
        means = {each: meant[each]["meant_id"] for each in named_here if not meant[each]["deleted"]}
        query = render(_LEADING_BACK, ids=list(means.values()), link=kind, source_id=link.source_id)
        back = {row["id"] for row in await connection.fetch(*query)}
        lost += [(named, own) for named in sorted(means) if means[named] in back]
    return lost


def _encoded(value: Any) -> str:  # noqa: ANN401 - JSON
    return msgspec.json.encode(value).decode()
