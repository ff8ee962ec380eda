"""The feed's cursors: a position, and what the walk that led there has covered.

A cursor carries, for each record type by its name, which classes of records its reader saw, or
that the walk left the type out. Whoever goes on from it and sees more would miss the earlier
changes that were hidden: that takes a new start. A type that was added after the cursor was made
is in none of the changes before it, so nothing is missed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Any, Final, get_args

from msgspec import Meta, ValidationError, convert

from api.core import cursor
from api.core.caller import Caller
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
_Epoch = Annotated[str, Meta(max_length=40)]
_Seq = Annotated[int, Meta(ge=0, lt=2**53)]
_Tag = Annotated[str, Meta(max_length=40)]
_Covered = dict[str, tuple[int, ...] | None]
"""What a walk has covered, by the name of each type that there was.

The classes of its records that the reader saw; null for a type that the walk left out.
"""
_Values = tuple[_Epoch, _Seq, _Tag, _Covered]

_FORMER_TYPES: Final = ("source", "article", "claim", "denial")
_FORMER_CLASSES: Final = 3
_Mask = Annotated[int, Meta(ge=0, lt=1 << len(_FORMER_TYPES) * _FORMER_CLASSES)]
_FormerValues = tuple[_Epoch, _Seq, _Tag, _Mask, _Mask]
"""Cursors before types stood in them by name: the walk's types, and the classes, as bits."""


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
    walked = frozenset(types)
    covered = {of.value: caller.classes[of] if of in walked else None for of in _TYPES}
    return cursor.write(_LIST, [*position, covered])


def _read(text: str) -> tuple[Position, _Covered]:
    """Read a cursor of this version, or of one before."""
    values = cursor.read(text, _LIST, name="since")
    try:
        if len(values) == len(get_args(_Values)):
            *position, covered = convert(values, _Values)
        else:
            *position, walked, classes = convert(values, _FormerValues)
            covered = _covered(walked, classes)
    except ValidationError:
        raise cursor.not_ours("since") from None
    return Position(*position), covered


def _covered(walked: int, classes: int) -> _Covered:
    """Read the bits of a former cursor: one a type, and some for the classes of each."""
    return {
        name: tuple(
            level for level in range(_FORMER_CLASSES) if classes >> at * _FORMER_CLASSES + level & 1
        )
        if walked >> at & 1
        else None
        for at, name in enumerate(_FORMER_TYPES)
    }


async def since(feed: Feed, text: str, caller: Caller, types: Iterable[RecordType]) -> Position:
    """Find the position that a reader asks for; the feed is caught up first.

    A type that the cursor does not know is newer than it: all its records are behind the position.

    Raises `invalid-cursor`, `cursor-mismatch` or `resync-required`.
    """
    if text in (START, NOW):
        head = await feed.catch_up()
        return await feed.position(0 if text == START else head.seq)
    try:
        convert(text, Cursor)  # a header has not been held to it
    except ValidationError:
        raise cursor.not_ours("since") from None
    position, covered = _read(text)
    known = [of for of in types if of in covered]
    if missing := [of for of in known if covered[of] is None]:
        raise invalid_parameter(
            "types",
            f"The cursor's walk left out {', '.join(missing)}; export these types first, and go on "
            "from that export's cursor.",
            CURSOR_MISMATCH,
        )
    if any(set(caller.classes[of]) - set(covered[of] or ()) for of in known):
        raise resync_required("The key may see more than the one for which the cursor was made.")
    await feed.catch_up()
    return position
