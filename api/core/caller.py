"""The caller of a request and what it can see: the only place in the code that decides this.

Each record has a visibility class. The database derives it at each write (migration 0001) from the
record's status, its embargo and its confidentiality. A caller sees the classes that its scopes
open; every other record does not exist for it, in any operation.

The words of a claim or denial are those of the articles in which it appears. While one of these is
hidden, the record's class has the bit `HIDDEN` (migration 0009), and the record is only seen by a
caller who sees such articles. A revision has no such bit: what counts is whether its articles are
hidden today.

A statement says `:sees(claim, t)` where the row of alias `t`, a claim, must exist for the caller,
and `:saw(claim, r)` where a revision of one must; :func:`api.core.sql.render` fills that in.
Postgres refuses a statement that was not rendered as a syntax error.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import cached_property
from typing import Any, Final, NamedTuple

from msgspec import Struct

from schemas.vocabularies import RecordType, Scope

WRITE: Final = {record_type: Scope[f"{record_type.name}S_WRITE"] for record_type in RecordType}
"""The scope that it takes to write records of a type."""


class Visibility(IntEnum):
    """The visibility classes of records, as the database stores them."""

    PUBLIC = 0
    DRAFT = 1  # in any state but published or usable, under embargo, or internal
    CONFIDENTIAL = 2  # a restricted or protected source


HIDDEN: Final = 4
"""The bit of a class that says that an article in which the record appears is hidden."""
PRINTED: Final = (RecordType.CLAIM, RecordType.DENIAL)
"""The types of records that appear in articles."""
CONFIDENTIAL: Final = (RecordType.SOURCE,)
"""The types whose records can be confidential."""
_CLASSES: Final = {
    record_type: tuple(Visibility)[: 3 if record_type in CONFIDENTIAL else 2]
    for record_type in RecordType
}
"""The classes that the records of a type can have, whatever their articles."""


class Sight(NamedTuple):
    """What exists for a caller, as numbers: Postgres can ask them about many records at once."""

    classes: tuple[int, ...]  # for each record type: bit n is set if the caller sees class n
    hidden_articles: bool


class Caller(Struct, frozen=True, dict=True):
    """The caller of a request: a key, or somebody without one."""

    key_id: str | None  # null without a key
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Tell whether the caller has a scope; every key may read what is public."""
        return scope in self.scopes or (scope is Scope.READ and self.key_id is not None)

    @cached_property
    def classes(self) -> dict[RecordType, tuple[int, ...]]:
        """Give the classes of each record type that exist for the caller."""
        classes = dict(self._own_classes)
        if self.sees_hidden_articles:
            for record_type in PRINTED:
                classes[record_type] += tuple(HIDDEN | each for each in classes[record_type])
        return classes

    @cached_property
    def sight(self) -> Sight:
        """Give the same as numbers, which are equal for all callers who see the same records."""
        classes = tuple(sum(1 << each for each in self.classes[of_type]) for of_type in RecordType)
        return Sight(classes, self.sees_hidden_articles)

    @cached_property
    def sees_hidden_articles(self) -> bool:
        """Tell whether the caller sees articles that are withheld, taken down or under embargo."""
        return Visibility.DRAFT in self._own_classes[RecordType.ARTICLE]

    @cached_property
    def _own_classes(self) -> dict[RecordType, tuple[int, ...]]:
        return {record_type: self._classes(record_type) for record_type in RecordType}

    def _classes(self, record_type: RecordType) -> tuple[int, ...]:
        reads_drafts = self.may(Scope.DRAFTS_READ) or self.may(WRITE[record_type])
        classes = []
        if self.may(Scope.READ) or reads_drafts:
            classes.append(Visibility.PUBLIC)
        if reads_drafts:
            classes.append(Visibility.DRAFT)
        if self.may(Scope.CONFIDENTIAL_READ) and record_type in CONFIDENTIAL:
            classes.append(Visibility.CONFIDENTIAL)
        return tuple(map(int, classes))

    def sees(self, record_type: RecordType, alias: str = "t") -> str:
        """Write the SQL condition that a record exists for the caller.

        The classes are constants and not parameters, so that an index on one class can be used.
        """
        all_classes = len(_CLASSES[record_type]) * (2 if record_type in PRINTED else 1)
        return _among(self.classes[record_type], all_classes, alias)

    def saw(self, record_type: RecordType, alias: str) -> str:
        """Write the SQL condition that a revision exists for the caller.

        The caller could see the record then, and sees all articles that this revision quotes today.
        """
        condition = _among(self._own_classes[record_type], len(_CLASSES[record_type]), alias)
        if record_type not in PRINTED or self.sees_hidden_articles:
            return condition
        return f"{condition} AND NOT {quotes_hidden(alias)}"


def _among(classes: tuple[int, ...], all_classes: int, alias: str) -> str:
    if len(classes) == all_classes:
        return "true"
    if len(classes) == 1:
        return f"{alias}.visibility = {classes[0]}"
    listed = ", ".join(map(str, classes))
    return f"{alias}.visibility IN ({listed})" if classes else "false"


def quotes_hidden(alias: str) -> str:
    """Write the SQL condition that a revision quotes an article that is hidden today."""
    return (
        "EXISTS (SELECT FROM articles AS quoted"
        f" WHERE quoted.id = ANY({alias}.article_ids) AND quoted.visibility > 0)"
    )


class Actor(NamedTuple):
    """The writer of a change, in the order of the columns that store it."""

    key_id: str | None
    scope: str | None  # that allowed the change
    request_id: str
    route: str


class Need(NamedTuple):
    """What a caller needs for an operation."""

    scopes: tuple[Scope, ...]  # every one of them
    reads: tuple[RecordType, ...] = ()  # and to see records of at least one of these types

    def missing(self, caller: Caller) -> tuple[Scope, ...]:
        """Name the scopes that a caller needs and does not have."""
        lacking = [scope for scope in self.scopes if not caller.may(scope)]
        if self.reads and not any(caller.classes[record_type] for record_type in self.reads):
            lacking.insert(0, Scope.READ)
        return tuple(dict.fromkeys(lacking))


PUBLIC: Final[tuple[Scope, ...]] = ()
"""The `opt["scopes"]` of a handler that anybody may call."""
KEYLESS: Final = "/health/"
"""For a path that begins with this, no key is read and no request is counted."""
ANYTHING: Final = tuple(RecordType)
"""The `opt["reads"]` of a handler for callers who see records of any type."""


def needed(opt: Mapping[str, Any], method: str) -> Need | None:
    """Read from a handler's `opt` which scopes a caller needs; if none, nobody may call it.

    A handler of a resource lets those read who see records of its type, and those write who have
    the scope to write them.
    """
    if "scopes" in opt:
        return Need(tuple(opt["scopes"]))
    if "reads" in opt:
        return Need((), tuple(opt["reads"]))
    if "resource" in opt:
        record_type: RecordType = opt["resource"].type
        return Need((), (record_type,)) if method == "GET" else Need((WRITE[record_type],))
    return None


EVERYTHING: Final = Caller(key_id=None, scopes=frozenset(Scope))
"""The service itself, and the command line."""
NOBODY: Final = Caller(key_id=None, scopes=frozenset())
READER: Final = Caller(key_id=None, scopes=frozenset({Scope.READ}))
"""A caller without a key, where reading needs none."""
