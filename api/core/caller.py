"""Who asks, and what they may see: the one place in the code that decides it.

Each record has a visibility class, which the database derives as it is written (migration 0001):
its status, its embargo, its confidentiality. A caller sees the classes that its scopes open, and
what it does not see does not exist for it, in any way of reading.

Queries say whom they are for by `:sees(claim, t)`: the row of alias `t`, of a claim's table or its
revisions, exists for the caller. :meth:`Caller.query` fills that in; a query for which that is
forgotten is a syntax error to Postgres.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple

from msgspec import Struct

from schemas.vocabularies import RecordType, Scope

WRITE: Final = {record_type: Scope[f"{record_type.name}S_WRITE"] for record_type in RecordType}
"""The scope that it takes to write records of a type."""


class Visibility(IntEnum):
    """The classes of records, as the database stores them."""

    PUBLIC = 0
    DRAFT = 1  # in any state but published or usable, under embargo, or internal
    CONFIDENTIAL = 2  # a restricted or protected source


_CLASSES: Final = {
    of: tuple(Visibility)[: 3 if of is RecordType.SOURCE else 2] for of in RecordType
}
"""Which classes the records of a type can have."""
_SEES = re.compile(r":sees\(([a-z]+), ([a-z]+)\)")


class Caller(Struct, frozen=True, dict=True):
    """Somebody who asks: a key, or nobody in particular."""

    key_id: str | None  # null without a key
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Tell whether the caller has a scope."""
        return scope in self.scopes

    @cached_property
    def classes(self) -> dict[RecordType, tuple[int, ...]]:
        """Which classes of records of each type exist for the caller."""
        return {of: self._classes(of) for of in RecordType}

    def _classes(self, of: RecordType) -> tuple[int, ...]:
        found = []
        if self.may(Scope.READ) or self.may(Scope.DRAFTS_READ) or self.may(WRITE[of]):
            found.append(int(Visibility.PUBLIC))
        if self.may(Scope.DRAFTS_READ) or self.may(WRITE[of]):
            found.append(int(Visibility.DRAFT))
        if self.may(Scope.CONFIDENTIAL_READ) and Visibility.CONFIDENTIAL in _CLASSES[of]:
            found.append(int(Visibility.CONFIDENTIAL))
        return tuple(found)

    def sees(self, of: RecordType, alias: str = "t") -> str:
        """Write the SQL condition that a row of a record or revision exists for the caller.

        Constants, not parameters: so that an index on one class can serve it.
        """
        classes = self.classes[of]
        if len(classes) == len(_CLASSES[of]):
            return "true"
        if len(classes) == 1:
            return f"{alias}.visibility = {classes[0]}"
        listed = ", ".join(map(str, classes))
        return f"{alias}.visibility IN ({listed})" if classes else "false"

    def query(self, text: str) -> str:
        """Write a query as this caller may ask it: each `:sees(type, alias)` filled in."""
        return _written(self, text)


@lru_cache(maxsize=4_096)
def _written(caller: Caller, text: str) -> str:
    return _SEES.sub(lambda place: caller.sees(RecordType[place[1].upper()], place[2]), text)


class Need(NamedTuple):
    """What it takes to call an operation."""

    scopes: tuple[Scope, ...]  # every one of them
    reads: tuple[RecordType, ...] = ()  # and to see some records of one of these types

    def missing(self, caller: Caller) -> Scope | None:
        """Name a scope that a caller lacks; null if it lacks none."""
        if self.reads and not any(caller.classes[of] for of in self.reads):
            return Scope.READ
        return next((scope for scope in self.scopes if not caller.may(scope)), None)


PUBLIC: Final[tuple[Scope, ...]] = ()
"""What a handler declares as its `opt["scopes"]` that anybody may call."""
KEYLESS: Final = "/health/"
"""Where nobody's key is looked at, by the start of the path."""
ANYTHING: Final = tuple(RecordType)
"""What a handler declares as its `opt["reads"]` that takes to see records of whatever type."""


def needed(opt: Mapping[str, Any], method: str) -> Need | None:
    """Read what it takes off a handler's `opt`; null, which is never enough, if nothing is said.

    The operations of a noun go by its type: reading by what the caller sees, the rest by its write
    scope.
    """
    if "scopes" in opt:
        return Need(tuple(opt["scopes"]))
    if "reads" in opt:
        return Need((), tuple(opt["reads"]))
    if "resource" in opt:
        of: RecordType = opt["resource"].type
        return Need((), (of,)) if method == "GET" else Need((WRITE[of],))
    return None


EVERYTHING: Final = Caller(key_id=None, scopes=frozenset(Scope))
"""The service itself, and the command line."""
NOBODY: Final = Caller(key_id=None, scopes=frozenset())
READER: Final = Caller(key_id=None, scopes=frozenset({Scope.READ}))
"""Somebody without a key, where reading needs none."""
