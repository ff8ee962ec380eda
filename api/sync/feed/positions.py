"""The feed's cursors: a position, and what the walk that led there has covered.

A cursor carries which types were asked for and which classes of records its reader saw. Whoever
goes on from it and sees more would miss what was hidden before: that takes a new start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Any, Final

from msgspec import Meta, ValidationError, convert

from api.core import cursor
from api.core.caller import Caller, Visibility
from api.core.errors import CURSOR_MISMATCH, invalid_parameter
from api.core.filters import Parameter
from api.sync.feed.following import Feed
from api.sync.feed.stretches import Position, resync_required
from schemas.base import Line
from schemas.changes import Cursor
from schemas.vocabularies import RecordType

START: Final = "start"
NOW: Final = "now"

SINCE = Parameter(
    "since",
    Cursor,
    "Where to begin: `start` is the oldest change, `now` the end, and `next_cursor` of an earlier "
    "answer, of an export or of an event, goes on from there.",
    default=START,
)
TYPES = Parameter(
    "types",
    Line,
    "Only records of these types, with commas. A cursor goes on with the types that it was made "
    "with, or with fewer.",
    terms=tuple(RecordType),
)

_LIST: Final = cursor.fingerprint("changes")
_TYPES: Final = tuple(RecordType)
_CLASSES: Final = len(Visibility)
_Mask = Annotated[int, Meta(ge=0, lt=1 << len(_TYPES) * _CLASSES)]
_Values = tuple[
    Annotated[str, Meta(max_length=40)],
    Annotated[int, Meta(ge=0, lt=2**53)],
    Annotated[str, Meta(max_length=40)],
    _Mask,
    _Mask,
]


def types_of(given: dict[str, Any]) -> tuple[RecordType, ...]:
    """Read `types`: names with commas, each once; all of them if it is not there."""
    text = given.get("types")
    if text is None:
        return _TYPES
    names = text.split(",")
    known = {of.value: of for of in _TYPES}
    if len(set(names)) < len(names) or not known.keys() >= set(names):
        raise invalid_parameter("types", f"It takes {', '.join(known)}, with commas, each once.")
    return tuple(of for of in _TYPES if of.value in names)


def filtered(types: Collection[RecordType]) -> Collection[RecordType]:
    """Give the types to look for; none where that is all of them."""
    return () if len(types) == len(_TYPES) else types


def written(position: Position, caller: Caller, types: Iterable[RecordType]) -> str:
    """Write a cursor for a reader."""
    walked = sum(1 << _TYPES.index(of) for of in types)
    return cursor.write(_LIST, [*position, walked, _seen(caller)])


async def since(feed: Feed, text: str, caller: Caller, types: Iterable[RecordType]) -> Position:
    """Find the position that a reader asks for; the feed is caught up first.

    Raises `invalid-cursor`, `cursor-mismatch` or `resync-required`.
    """
    if text in (START, NOW):
        head = await feed.catch_up()
        return await feed.position(0 if text == START else head.seq)
    try:
        convert(text, Cursor)  # a header has not been held to it
    except ValidationError:
        raise cursor.not_ours("since") from None
    *position, walked, was_seen = cursor.read(text, _LIST, _Values, "since")
    if missing := [of for of in types if not walked & 1 << _TYPES.index(of)]:
        raise invalid_parameter(
            "types",
            f"The cursor's walk left out {', '.join(missing)}; export these types first, and go on "
            "from that export's cursor.",
            CURSOR_MISMATCH,
        )
    asked = sum(_all_classes(of) for of in types)
    if _seen(caller) & ~was_seen & asked:
        raise resync_required("The key may see more than the one for which the cursor was made.")
    await feed.catch_up()
    return Position(*position)


def _seen(caller: Caller) -> int:
    """Write the classes that a caller sees as bits, some for each type."""
    return sum(
        1 << _TYPES.index(of) * _CLASSES + level
        for of, classes in caller.classes.items()
        for level in classes
    )


def _all_classes(of: RecordType) -> int:
    return (1 << _CLASSES) - 1 << _TYPES.index(of) * _CLASSES
