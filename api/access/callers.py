"""Who asks, and what they may see: the one place in the code that decides it.

Each record has a visibility class, which the database derives as it is written (migration 0001):
its status, its embargo, its confidentiality. A caller sees the classes that its scopes open, and
what it does not see does not exist for it, in any way of reading.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cached_property
from typing import Final

from msgspec import Struct

from schemas.vocabularies import RecordType, Scope

WRITE: Final = {
    RecordType.ARTICLE: Scope.ARTICLES_WRITE,
    RecordType.CLAIM: Scope.CLAIMS_WRITE,
    RecordType.SOURCE: Scope.SOURCES_WRITE,
    RecordType.DENIAL: Scope.DENIALS_WRITE,
}
"""What it takes to write records of a type."""


class Visibility(IntEnum):
    """The classes of records, as the database stores them."""

    PUBLIC = 0
    DRAFT = 1  # in any state but published or usable, under embargo, or internal
    CONFIDENTIAL = 2  # a restricted or protected source


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
        if self.may(Scope.CONFIDENTIAL_READ):
            found.append(int(Visibility.CONFIDENTIAL))
        return tuple(found)

    def sees(self, of: RecordType, alias: str = "t") -> str:
        """Write the SQL condition that a row of a record's table exists for the caller.

        Constants, not parameters: so that an index on one class can serve it.
        """
        classes = self.classes[of]
        if len(classes) == len(Visibility):
            return "true"
        if len(classes) == 1:
            return f"{alias}.visibility = {classes[0]}"
        listed = ", ".join(map(str, classes))
        return f"{alias}.visibility IN ({listed})" if classes else "false"


EVERYTHING: Final = Caller(key_id=None, scopes=frozenset(Scope))
"""The service itself, and the command line."""
NOBODY: Final = Caller(key_id=None, scopes=frozenset())
READER: Final = Caller(key_id=None, scopes=frozenset({Scope.READ}))
"""Somebody without a key, where reading needs none."""
