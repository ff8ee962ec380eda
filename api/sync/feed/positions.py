"""The feed's cursors: a position, and what the walk that led there has covered.

A cursor names each record type, with the classes of its records that the reader could see, or with
null if the walk left the type out. A reader who sees more than that would miss earlier changes that
were hidden. A reader who sees less would never hear that a record which it holds was changed or
deleted. Both have to start again. A type that was added after the cursor was made is in none of the
changes before it, so nothing is missed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, get_args

from msgspec import Meta, ValidationError, convert

from api.core import cursor
from api.core.caller import HIDDEN, PRINTED, Caller
from api.core.errors import CURSOR_MISMATCH, invalid_parameter
from api.core.filters import Parameter, read_terms
from api.sync.feed.following import Feed
from api.sync.feed.stretches import Position, resync_required
from schemas.changes import Cursor
from schemas.scalars import Line
from schemas.vocabularies import RecordType

START: Final = "start"
NOW: Final = "now"

SINCE = Parameter(
    "since",
    Cursor,
    "Where to begin: `start` is the oldest change, and `now` is the end of the feed. With the "
    "cursor of an earlier answer, an export or an event, the answer goes on after it.",
    default=START,
)
TYPES = Parameter(
    "types",
    Line,
    "Only records of these types, separated by commas. A cursor can be used for the types that it "
    "was made for, or for fewer of them.",
    terms=tuple(RecordType),
)

_LIST: Final = cursor.fingerprint("changes")
_TYPES: Final = tuple(RecordType)
_Epoch = Annotated[str, Meta(max_length=40)]
_Seq = Annotated[int, Meta(ge=0, lt=2**53)]
_Tag = Annotated[str, Meta(max_length=40)]
_Covered = dict[str, tuple[int, ...] | None]
"""What a walk has covered: each record type that existed then, by its name.

Its value are the classes of its records that the reader could see; null if the walk left it out.
"""
_Values = tuple[_Epoch, _Seq, _Tag, _Covered, bool]
"""The last one is true: records could be hidden with their articles when the cursor was made."""
_EarlierValues = tuple[_Epoch, _Seq, _Tag, _Covered]

_FORMER_TYPES: Final = ("source", "article", "claim", "denial")
_FORMER_CLASSES: Final = 3
_Mask = Annotated[int, Meta(ge=0, lt=1 << len(_FORMER_TYPES) * _FORMER_CLASSES)]
_FormerValues = tuple[_Epoch, _Seq, _Tag, _Mask, _Mask]
"""Cursors of earlier versions: the walk's types and the visible classes are the bits of numbers."""


def types_of(given: dict[str, Any]) -> tuple[RecordType, ...]:
    """Read `types`, in the order of the vocabulary; without the parameter, all types are meant."""
    text = given.get("types")
    if text is None:
        return _TYPES
    names = read_terms("types", text, [record_type.value for record_type in _TYPES])
    return tuple(record_type for record_type in _TYPES if record_type.value in names)


def filtered(types: tuple[RecordType, ...]) -> tuple[RecordType, ...]:
    """Give the types to which a reading is limited; none if it is for all types."""
    return () if len(types) == len(_TYPES) else types


def written(position: Position, caller: Caller, types: Iterable[RecordType]) -> str:
    """Write a cursor for a reader."""
    walked = frozenset(types)
    covered = {
        record_type.value: caller.classes[record_type] if record_type in walked else None
        for record_type in _TYPES
    }
    return cursor.write(_LIST, [*position, covered, True])


def _read(text: str, caller: Caller) -> tuple[Position, _Covered]:
    """Read a cursor of this version or of an earlier one."""
    values = cursor.read(text, _LIST, name="since")
    try:
        if values and isinstance(values[-1], bool):
            *position, covered, _ = convert(values, _Values)
        elif len(values) == len(get_args(_EarlierValues)):
            *position, covered = convert(values, _EarlierValues)
            covered = _with_hidden(covered, caller)
        else:
            *position, walked, classes = convert(values, _FormerValues)
            covered = _with_hidden(_covered(walked, classes), caller)
    except ValidationError:
        raise cursor.not_ours("since") from None
    return Position(*position), covered


def _with_hidden(covered: _Covered, caller: Caller) -> _Covered:
    """Add what a cursor covered when records were not hidden with their articles yet.

    Its reader had seen these records, whatever the key. Those that have been hidden since are in
    the feed behind the cursor.
    """
    if not caller.sees_hidden_articles:
        return covered
    return {
        name: (*seen, *(HIDDEN | each for each in seen)) if name in PRINTED and seen else seen
        for name, seen in covered.items()
    }


def _covered(walked: int, classes: int) -> _Covered:
    """Read the bits of a former cursor: one bit for each type, and one for each of its classes."""
    covered: _Covered = {}
    for index, name in enumerate(_FORMER_TYPES):
        bits = classes >> index * _FORMER_CLASSES
        seen = tuple(level for level in range(_FORMER_CLASSES) if bits >> level & 1)
        covered[name] = seen if walked >> index & 1 else None
    return covered


async def since(feed: Feed, text: str, caller: Caller, types: Iterable[RecordType]) -> Position:
    """Find the position that a reader asks for, and catch up with the feed.

    A type that the cursor does not name was added later: all its records are behind the position.

    Raises `invalid-cursor`, `cursor-mismatch` or `resync-required`.
    """
    if text in (START, NOW):
        head = await feed.catch_up()
        return await feed.position(0 if text == START else head.seq)
    try:
        convert(text, Cursor)  # a header was not checked yet
    except ValidationError:
        raise cursor.not_ours("since") from None
    position, covered = _read(text, caller)
    known = [record_type for record_type in types if record_type in covered]
    if missing := [record_type for record_type in known if covered[record_type] is None]:
        raise invalid_parameter(
            "types",
            f"The cursor was made without the types {', '.join(missing)}. Export these types "
            "first, and go on from that export's cursor.",
            CURSOR_MISMATCH,
        )
    if any(set(caller.classes[each]) != set(covered[each] or ()) for each in known):
        raise resync_required(
            "The key sees other records than the key for which the cursor was made. Export again, "
            "go on from that export's cursor, and remove the records that the export does not have."
        )
    await feed.catch_up()
    return position
