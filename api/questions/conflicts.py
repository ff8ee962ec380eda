"""Conflicts between figures: those that claims state, and those that follow from the numbers.

It is a pure computation: :mod:`api.questions.comparing` reads what it needs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from schemas.figures import MAX_CONFLICTS, FigureConflict
from schemas.references import RecordReference
from schemas.vocabularies import ConflictBasis, RecordType

MAX_COMPARED: Final = 1_000
"""A figure is compared with at most this many others."""

Key: TypeAlias = tuple[UUID, str, int | None]
"""A figure: its record's id and type, and its index in the record, null for the record itself."""
_Subject: TypeAlias = tuple[UUID, str, str | None, str | None]


class Counted(NamedTuple):
    """A figure, as far as it can be compared with others."""

    type: str
    id: UUID
    place: int  # its index in the record
    metric: str
    unit: str | None
    population: str | None
    lower: float | None  # without bounds: vague words
    upper: float | None
    lower_open: bool
    upper_open: bool
    starts: dt.datetime | None  # without a time: it is not known
    ends: dt.datetime | None
    topics: Sequence[UUID] = ()  # what it counts at each place at which it happened

    @property
    def key(self) -> Key:
        """Name the figure."""
        return self.id, self.type, self.place


class Known(NamedTuple):
    """What is known about the figures that some are compared with."""

    figures: Sequence[Counted]
    same: Sequence[tuple[UUID, UUID]]  # claims that are joined by relations
    answered: Sequence[tuple[UUID, UUID]]  # a denial, and a claim that it answers
    stated: Sequence[tuple[UUID, UUID, Sequence[int]]]  # claims, and the second one's figures
    of_topics: Mapping[Key, Collection[Key]] = {}  # for a figure, those that conflict at its places
    rejected: Collection[
        tuple[UUID, UUID]
    ] = ()  # claims of which an editor says they do not conflict
    cut: bool = False  # whether some of `figures` or `same` are missing
    cut_figures: Collection[Key] = ()  # those for which some of `of_topics` are missing


class Found(NamedTuple):
    """The conflicts of a figure, and whether there may be more."""

    conflicts: list[FigureConflict]
    more: bool


def find_conflicts(asked: Iterable[Counted], known: Known) -> list[Found]:
    """Find the conflicts of each figure, in the order of the ids of the others' records."""
    subjects = _Subjects(known)
    others: dict[_Subject, list[Counted]] = {}
    for figure in sorted({each.key: each for each in known.figures}.values(), key=_order):
        for subject in subjects.of(figure):
            others.setdefault(subject, []).append(figure)
    stated: dict[UUID, list[Key]] = {}
    for claim, other, indexes in known.stated:
        keys: list[Key] = [(other, RecordType.CLAIM, index) for index in indexes or (None,)]
        stated.setdefault(claim, []).extend(keys)
    return [_found(figure, subjects.of(figure), others, stated, known) for figure in asked]


class _Subjects:
    """What figures count: figures with a subject in common are about the same thing."""

    def __init__(self, known: Known) -> None:
        self._roots: dict[UUID, UUID] = {}
        for one, other in known.same:
            self._roots[self._root(one)] = self._root(other)
        self._answered: dict[UUID, list[UUID]] = {}
        for denial, claim in known.answered:
            self._answered.setdefault(denial, []).append(claim)

    def of(self, figure: Counted) -> list[_Subject]:
        """List the subjects of a figure; there are none if it can't be compared."""
        if figure.lower is None or figure.starts is None:
            return []
        claims = [figure.id] if figure.type == RecordType.CLAIM else self._answered.get(figure.id)
        about = dict.fromkeys(map(self._root, claims or ()))
        return [(each, figure.metric, figure.unit, figure.population) for each in about]

    def _root(self, claim: UUID) -> UUID:
        root = claim
        while (following := self._roots.get(root, root)) != root:
            root = following
        while claim != root:
            self._roots[claim], claim = root, self._roots[claim]
        return root


def _order(figure: Counted) -> Key:
    return figure.key


def _found(
    figure: Counted,
    subjects: Iterable[_Subject],
    others: Mapping[_Subject, Sequence[Counted]],
    stated: Mapping[UUID, Iterable[Key]],
    known: Known,
) -> Found:
    """List the conflicts of one figure: the stated ones, then those that are computed."""
    said = sorted(stated.get(figure.id, ()) if figure.type == RecordType.CLAIM else (), key=_stable)
    more = known.cut or figure.key in known.cut_figures
    computed = set(known.of_topics.get(figure.key, ()))
    more |= len(computed) > MAX_CONFLICTS
    for compared, other in enumerate(_each(subjects, others)):
        if compared == MAX_COMPARED:
            more = True
            break
        if _conflict(figure, other):
            computed.add(other.key)
    keys = dict.fromkeys(said, ConflictBasis.STATED)
    for key in sorted(computed, key=_stable):
        if (figure.id, key[0]) in known.rejected and figure.type == key[1] == RecordType.CLAIM:
            continue
        keys.setdefault(key, ConflictBasis.COMPUTED)
    listed = list(keys.items())[:MAX_CONFLICTS]
    return Found([_conflict_with(*each) for each in listed], more or len(keys) > len(listed))


def _each(
    subjects: Iterable[_Subject], others: Mapping[_Subject, Sequence[Counted]]
) -> Iterator[Counted]:
    for subject in subjects:
        yield from others.get(subject, ())


def _stable(key: Key) -> tuple[UUID, str, int]:
    identity, record_type, index = key
    return identity, record_type, -1 if index is None else index


def _conflict(one: Counted, other: Counted) -> bool:
    """Tell whether two figures with a subject in common can't both hold at the same time."""
    if (one.type, one.id) == (other.type, other.id):
        return False
    assert one.starts and one.ends and other.starts and other.ends  # noqa: S101, PT018 - subjects have them
    overlapping = one.starts < other.ends and other.starts < one.ends
    return overlapping and (_below(one, other) or _below(other, one))


def _below(one: Counted, other: Counted) -> bool:
    """Tell whether every number that the first allows is below all of the second's."""
    assert one.upper is not None  # noqa: S101 - subjects have bounds
    assert other.lower is not None  # noqa: S101
    if one.upper == other.lower:
        return one.upper_open or other.lower_open
    return one.upper < other.lower


def _conflict_with(key: Key, basis: ConflictBasis) -> FigureConflict:
    identity, record_type, index = key
    record = RecordReference(type=RecordType[record_type.upper()], id=str(identity))
    return FigureConflict(record=record, index=index, basis=basis)
