"""The two sources of a merge: lock and read them, and say why they can't be merged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from api.core.caller import Caller
from api.core.db import Connection
from api.core.errors import (
    MERGE_REFUSED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    SOURCE_MERGED,
    Problem,
    invalid_record,
)
from api.core.reading import gone
from api.core.relations import relations_stated
from api.core.sql import compose, render
from api.core.versions import Preconditions, etag
from api.merging.carried import MOST, Added, Lists, added
from api.merging.references import SYMMETRIC
from schemas.base import Fault
from schemas.vocabularies import Identification, SourceRelationKind

MAX_MERGES: Final = 1_000
"""A source has at most this many others merged into it, and a chain of merges this many links."""
MAX_WALKED: Final = 10_000
"""No more sources are looked at than this, to find whether one leads to another."""

_LOCK: Final = """
    SELECT t.id::text, t.version, t.deleted_at IS NOT NULL AS deleted, t.doc,
           t.merged_into_id::text AS merged_into
    FROM sources AS t
    WHERE t.id = ANY(:ids::uuid[]) AND :sees(source, t)
    ORDER BY t.id
    FOR NO KEY UPDATE OF t"""
# What a source states that is merged into one of the two counts as well.
_IS_DISTINCT: Final = compose(
    """
    SELECT EXISTS (
        SELECT FROM ({stated}) AS stated(id, relations)
        CROSS JOIN LATERAL json_to_recordset(stated.relations)
            AS r(source_id uuid, kind text, state text)
        CROSS JOIN LATERAL survivor_of(r.source_id) AS other
        WHERE r.kind = :kind AND r.state = 'confirmed'
            AND other = ANY(:ids::uuid[]) AND other <> stated.id
    )""",
    stated=relations_stated(
        "SELECT s.id, s.relations FROM sources AS s WHERE s.id = ANY(:ids::uuid[])"
    ),
)
# Whatever leads up from the survivor to the other one would lead from the survivor to itself.
_IS_ABOVE: Final = """
    WITH RECURSIVE walked(id) AS (
        SELECT :survivor_id::uuid
        UNION
        SELECT l.source_id FROM walked
        JOIN links AS l ON l.owner_id = walked.id AND l.owner_type = 'source'
            AND l.link IN (:link::text, 'merged_into')
    )
    SELECT EXISTS (
        SELECT FROM (SELECT id FROM walked LIMIT {most}) AS reached
        WHERE reached.id = :source_id::uuid
    )""".replace("{most}", f"{MAX_WALKED}")
# The merges into a source, and those of the chain that leads from the other one on.
_COUNT: Final = """
    SELECT greatest(
        (SELECT count(*) FROM source_merges AS m
         WHERE m.survivor_id = :survivor_id::uuid AND m.state IN ('repointing', 'done')),
        (WITH RECURSIVE chain(id, depth) AS (
            SELECT :source_id::uuid, 1
            UNION ALL
            SELECT m.source_id, chain.depth + 1 FROM chain
            JOIN source_merges AS m ON m.survivor_id = chain.id
            WHERE chain.depth < :most AND m.state IN ('repointing', 'done')
        ) SELECT max(depth) FROM chain)
    ) >= :most"""
_IS_RESTORING: Final = """
    SELECT EXISTS (
        SELECT FROM source_merges AS m
        WHERE m.source_id = ANY(:ids::uuid[]) AND m.state = 'restoring'
    )"""
_NAMELESS: Final = (Identification.ANONYMOUS, Identification.DESCRIBED)
# A merged source can't be changed, so all that are merged into one are of one kind with those that
# are merged into them in turn. Only the two themselves may have got another identification since.
_IS_MIXED: Final = """
    SELECT count(DISTINCT s.identification = ANY(:nameless::text[])) > 1
    FROM sources AS s
    WHERE s.id = ANY(:ids::uuid[]) OR s.id IN (
        SELECT m.source_id FROM source_merges AS m
        WHERE m.survivor_id = ANY(:ids::uuid[]) AND m.state IN ('repointing', 'done')
    )"""


class Side(NamedTuple):
    """One of the two sources, as it is stored."""

    id: str
    version: int
    doc: bytes
    record: dict[str, Any]

    @property
    def lists(self) -> Lists:
        """Give the name and the lists that a merge changes."""
        return {name: self.record[name] for name in ("name", *MOST)}


class Pair(NamedTuple):
    """The two sources of a merge, which stay as they are until the transaction ends."""

    survivor: Side
    other: Side
    added: Added  # what the survivor gets


async def lock_pair(
    connection: Connection,
    asker: Caller,
    survivor_id: str,
    expected: Preconditions,
    other_id: str,
    other_etag: str | None,
) -> Pair:
    """Lock and read the two sources; raise the problem that forbids to merge them."""
    if survivor_id == other_id:
        detail = "A source can't be merged into itself; name another source."
        raise invalid_record([Fault(("source_id",), "self-reference", detail)])
    query = render(_LOCK, asker, ids=[survivor_id, other_id])
    rows = {row["id"]: row for row in await connection.fetch(*query)}
    survivor = _survivor(rows.get(survivor_id), survivor_id, expected)
    other = _other(rows.get(other_id), other_id, other_etag)
    new = added(other.lists, survivor.lists)
    for reason in _reasons(survivor, other, new):
        raise Problem(MERGE_REFUSED, reason)
    await _check_others(connection, survivor_id, other_id)
    return Pair(survivor, other, new)


def _survivor(row: Any, identity: str, expected: Preconditions) -> Side:  # noqa: ANN401 - a row
    if row is None:
        raise Problem(NOT_FOUND, "No record has this id.")
    if row["merged_into"] is not None:
        raise Problem(SOURCE_MERGED)
    if row["deleted"]:
        raise gone(identity, row["version"])
    if not expected.match(identity, row["version"]):
        raise _is_newer(row, f"The record is at version {row['version']}.")
    return _side(row)


def _is_newer(row: Any, detail: str) -> Problem:  # noqa: ANN401 - a row
    """Report that one of the two has changed, with this record and its ETag."""
    return Problem(
        PRECONDITION_FAILED,
        detail,
        headers={"etag": etag(row["id"], row["version"])},
        current=msgspec.Raw(row["doc"]),
    )


def _other(row: Any, identity: str, other_etag: str | None) -> Side:  # noqa: ANN401 - a row
    if row is not None and row["merged_into"] is not None:
        detail = (
            f"The source {identity} was merged already. Name its survivor, or unmerge it first."
        )
        raise Problem(SOURCE_MERGED, detail)
    if row is None or row["deleted"]:
        detail = f"There is no source {identity}."
        raise invalid_record([Fault(("source_id",), "unknown-reference", detail)])
    version: int = row["version"]
    if other_etag is not None and not Preconditions((other_etag,), None).match(identity, version):
        detail = f"The source {identity} is at version {version}, not at `other_etag`."
        raise _is_newer(row, detail)
    return _side(row)


def _side(row: Any) -> Side:  # noqa: ANN401 - a row
    return Side(row["id"], row["version"], row["doc"], msgspec.json.decode(row["doc"]))


def _reasons(survivor: Side, other: Side, new: Added) -> Iterator[str]:
    """Say why two sources can't be merged, as far as they tell themselves."""
    levels = {each.record["confidentiality"] for each in (survivor, other)}
    if len(levels) > 1:
        yield "The two sources differ in `confidentiality`. Give both the same value first."
    if survivor.record["identification"] == Identification.ANONYMOUS and new["names"]:
        yield (
            "The survivor is `anonymous`, and can't get the names of the other source. Remove "
            "these names first, or store the other source as an identity of the survivor."
        )
    for name, most in MOST.items():
        if len(survivor.record[name]) + len(new[name]) > most:
            yield (
                f"The survivor would have more than {most} items in `{name}`. Remove some of "
                "these items from one of the two first."
            )


async def _check_others(connection: Connection, survivor_id: str, other_id: str) -> None:
    """Refuse a merge that other records forbid."""
    ids = [survivor_id, other_id]
    if await connection.fetchval(*render(_IS_MIXED, ids=ids, nameless=list(_NAMELESS))):
        raise Problem(
            MERGE_REFUSED,
            "One of the two, or a source that is merged into it, is `anonymous` or `described`, "
            "and another one of them is not: a merge would tell everybody who that "
            "source is. Store the "
            "other source as an identity of the one without a name, or unmerge that one first.",
        )
    distinct = SourceRelationKind.DISTINCT_FROM
    assert distinct in SYMMETRIC  # noqa: S101 - so either of the two may state it
    if await connection.fetchval(*render(_IS_DISTINCT, ids=ids, kind=distinct.value)):
        raise Problem(
            MERGE_REFUSED,
            "A confirmed relation says that one is `distinct_from` the other. If that is wrong, "
            "remove the relation or reject it (`state`) first. If a source that was merged into "
            "one of the two states it, unmerge that source first.",
        )
    ways_out = (("parent", "a part", "parent_id"), ("member", "a group", "members"))
    for link, words, name in ways_out:
        query = render(_IS_ABOVE, survivor_id=survivor_id, source_id=other_id, link=link)
        if await connection.fetchval(*query):
            raise Problem(
                MERGE_REFUSED,
                f"The survivor is {words} of the other source, directly or through others: "
                f"the survivor would be {words} of itself. Merge the survivor into the other "
                f"source instead, or change `{name}` of the source that leads there first.",
            )
    query = render(_COUNT, survivor_id=survivor_id, source_id=other_id, most=MAX_MERGES)
    if await connection.fetchval(*query):
        raise Problem(
            MERGE_REFUSED,
            f"More than {MAX_MERGES} merges would lead to one source. Unmerge some of them first.",
        )
    if await connection.fetchval(*render(_IS_RESTORING, ids=[other_id])):
        raise Problem(
            MERGE_REFUSED,
            "The other source was unmerged, and its references are still being given back. Try "
            "again when `listSourceMerges` shows that merge as `undone`.",
        )
