"""References by external id: a line may name a record so, in the place of its id.

While a line is read, a stand-in takes the place of each external id: an id, always the same one for
an external id during one import. Before the line is settled, the id that the external id has takes
the place of the stand-in. An atomic import gives the stand-in itself to the record that it creates
under this external id, so that lines above can refer to it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from api.core.caller import Caller
from api.core.db import Connection
from api.core.errors import (
    UNKNOWN_REFERENCE,
    Problem,
    invalid_record,
    pointer,
    record_problem,
)
from api.core.request import new_id
from api.core.sql import render
from api.core.validation import check
from api.core.writing.settle import Draft
from api.records.nouns import RESOURCES
from schemas.base import Create, ExternalId, Fault, Part, Path
from schemas.vocabularies import RecordType
from schemas.walking import (
    Reference,
    faults,
    has_object_for_id,
    references,
    slots_in,
    with_references,
)


class ExternalName(NamedTuple):
    """An external id of a record of some type."""

    type: RecordType
    namespace: str
    value: str

    def __str__(self) -> str:
        """Say it in words, for the detail of a problem."""
        return f"{self.type} with the external id `{self.value[:100]}` in `{self.namespace}`"


class NamedReference(NamedTuple):
    """A reference by external id: its place in the record, and the stand-in for the id."""

    path: Path
    name: ExternalName
    stand_in: str


class StandIns(NamedTuple):
    """Makes the stand-ins of one import: UUIDv7s of the time of its start (RFC 9562)."""

    milliseconds: int
    secret: bytes

    def of(self, name: ExternalName) -> str:
        """Give the stand-in for an external id."""
        digest = blake2b(key=self.secret, digest_size=10)
        for part in (name.type.encode(), name.namespace.encode(), name.value.encode()):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        bits = self.milliseconds << 80 | int.from_bytes(digest.digest())
        bits = bits & ~(0xF << 76) | (0x7 << 76)
        bits = bits & ~(0x3 << 62) | (0x2 << 62)
        return str(UUID(int=bits))


def new_stand_ins() -> StandIns:
    """Begin an import: nobody can tell its stand-ins before."""
    return StandIns(time.time_ns() // 1_000_000, os.urandom(16))


# --- while a line is read --------------------------------------------------------------------


class Named(NamedTuple):
    """The references by external id of a record."""

    references: list[NamedReference]
    faults: list[Fault]  # of those that are no external id
    ill_formed: set[str]  # the stand-ins for these


def put_stand_ins(stand_ins: StandIns, document: dict[str, Any], kind: type[Part]) -> Named:
    """Put a stand-in into each place for an id in which a record has an external id."""
    named = Named([], [], set())
    if not has_object_for_id(document, kind):
        return named
    for slot in slots_in(document, kind):
        if not isinstance(slot.value, dict):
            continue
        given, found = check(slot.value, ExternalId)
        if given is None or found:
            named.faults.extend(fault.under(*slot.path) for fault in found)
            stand_in = new_id()
            named.ill_formed.add(stand_in)
        else:
            name = ExternalName(slot.to, given.namespace, given.value)
            stand_in = stand_ins.of(name)
            named.references.append(NamedReference(slot.path, name, stand_in))
        slot.holder[slot.key] = stand_in
    return named


# --- before a line is settled ----------------------------------------------------------------

# As in `api.core.writing.look_up`, in a form of which Postgres keeps the plan. A record that the
# caller does not see is not found: else a guess of its external id would tell that it is right.
_IDS: Final = """
    SELECT n.namespace, n.value, t.id::text
    FROM unnest(:namespaces::text[], :values::text[]) AS n(namespace, value)
    CROSS JOIN LATERAL (
        SELECT e.record_id AS id FROM external_ids AS e
        WHERE e.record_type = '{type}' AND e.namespace = n.namespace AND e.value = n.value
        LIMIT 1
    ) AS w
    JOIN {table} AS t ON t.id = w.id AND :sees({type}, t)"""


async def find_ids(
    connection: Connection, caller: Caller, names: Iterable[ExternalName]
) -> dict[ExternalName, str]:
    """Find the ids that records, which the caller sees, have with some external ids."""
    wanted = list(dict.fromkeys(names))
    found: dict[ExternalName, str] = {}
    for record_type in {each.type for each in wanted}:
        some = [each for each in wanted if each.type is record_type]
        query = render(
            RESOURCES[record_type].table.compose(_IDS),
            caller,
            namespaces=[each.namespace for each in some],
            values=[each.value for each in some],
        )
        for namespace, value, identity in await connection.fetch(*query):
            found[ExternalName(record_type, namespace, value)] = identity
    return found


def with_ids(
    wanted: Draft, named: Iterable[NamedReference], ids: Mapping[ExternalName, str]
) -> Draft:
    """Give a record with the ids in the places of the stand-ins, as far as they are known.

    Raises the problem of a record that names another one twice where it may only once.
    """
    standing = {each.id for each in wanted.referred or ()}
    left = [each for each in named if each.name in ids and each.stand_in in standing]
    if not left:
        return wanted
    record: Part = wanted.record
    for record_type in {each.name.type for each in left}:
        known = {each.stand_in: ids[each.name] for each in left if each.name.type is record_type}
        record = with_references(record, record_type, known)
    if broken := list(faults(record)):
        raise invalid_record(broken)
    return wanted._replace(record=cast("Create", record), referred=references(record))


def references_with_ids(
    referred: Iterable[Reference],
    named: Iterable[NamedReference],
    ids: Mapping[ExternalName, str],
) -> list[Reference]:
    """Give references with the ids in the places of the stand-ins, as far as they are known."""
    known = {each.stand_in: ids[each.name] for each in named if each.name in ids}
    return [each._replace(id=known.get(each.id, each.id)) for each in referred]


# --- where a line is refused -----------------------------------------------------------------


def in_words(problem: Problem, named: Iterable[NamedReference]) -> Problem:
    """Name the external ids of records that do not exist, instead of the stand-ins for them."""
    names = {pointer(each.path): each.name for each in named}
    errors = [
        {**error, "detail": not_found_above(names[error["pointer"]])}
        if error["code"] == UNKNOWN_REFERENCE.name and error["pointer"] in names
        else error
        for error in problem.errors
    ]
    if errors == problem.errors:
        return problem
    return record_problem(errors, ill_formed=problem.kind is not UNKNOWN_REFERENCE)


def not_found_above(name: ExternalName) -> str:
    """Say that no record has an external id so far."""
    return (
        f"There is no {name}. If a line below creates it, put that line first, or send "
        "`atomic=true`."
    )


def not_found(name: ExternalName) -> str:
    """Say that no record has an external id, nor does any line create one."""
    return f"There is no {name}, and no line creates it. Add one, or leave the reference out."


def found_late(name: ExternalName, identity: str) -> str:
    """Say that a record got an external id on a line below, which names it in another way."""
    return (
        f"The {name} gets it on a line below, which names the record in another way. Put that line "
        f"first, or refer to the id {identity}."
    )
