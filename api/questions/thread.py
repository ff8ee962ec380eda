"""Order a thread of responses: which answers which, at which depth, and in which circles.

It is a pure computation: :mod:`api.questions.responses` reads the entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from schemas.questions import MAX_DEPTH, Responder, ResponseThread, ThreadResponse
from schemas.vocabularies import DenialFamily, DenialValidity


class Entry(NamedTuple):
    """A denial of the thread."""

    id: UUID
    family: str
    validity: str
    targets: Sequence[UUID]
    responders: Sequence[UUID]


def depths_of(root: UUID, rows: Iterable[Entry]) -> dict[UUID, int]:
    """Give the depth of each response, by the shortest way to the root; deep ones are left out."""
    answered: dict[UUID, list[UUID]] = {}
    for row in rows:
        for target in row.targets:
            answered.setdefault(target, []).append(row.id)
    depths: dict[UUID, int] = {}
    level = [root]
    for depth in range(1, MAX_DEPTH + 1):
        level = [each for target in level for each in answered.get(target, ())]
        level = [each for each in dict.fromkeys(level) if each not in depths and each != root]
        depths |= dict.fromkeys(level, depth)
    return depths


def responses_of(root: UUID, thread: Sequence[Entry], depths: Mapping[UUID, int]) -> ResponseThread:
    """Write the answer about the entries of a thread, oldest first, of known depths."""
    spoken = [row for row in thread if row.family != DenialFamily.SILENT]
    histories: dict[UUID, list[str]] = {}
    for row in spoken:
        for source in row.responders:
            histories.setdefault(source, []).append(str(row.id))
    return ResponseThread(
        responders=[
            Responder(source_id=str(source), latest=history[-1], history=history)
            for source, history in histories.items()
        ],
        thread=[
            ThreadResponse(
                denial_id=str(row.id),
                answers=[str(each) for each in row.targets if each == root or each in depths],
                depth=depths[row.id],
                standing=row.validity == DenialValidity.STANDING,
            )
            for row in spoken
        ],
        asked_without_answer=[str(row.id) for row in thread if row.family == DenialFamily.SILENT],
        circular=_circular(root, thread),
        included={},
        truncated=[],
    )


def _circular(root: UUID, thread: Sequence[Entry]) -> list[str]:
    """List the responses that lie in a circle, or between two circles.

    Responses that answer nothing of the rest, and then those that nothing of the rest answers, are
    taken away until none is left that can be.
    """
    targets = {row.id: {each for each in row.targets if each != root} for row in thread}
    for _ in range(2):
        targets = _without_ends(targets)
        answered: dict[UUID, set[UUID]] = {each: set() for each in targets}
        for each, its in targets.items():
            for target in its:
                answered[target].add(each)
        targets = answered
    return [str(row.id) for row in thread if row.id in targets]


def _without_ends(steps: Mapping[UUID, set[UUID]]) -> dict[UUID, set[UUID]]:
    """Remove everything from which no step leads into a circle."""
    left = {each: {to for to in its if to in steps} for each, its in steps.items()}
    back: dict[UUID, list[UUID]] = {}
    for each, its in left.items():
        for to in its:
            back.setdefault(to, []).append(each)
    ends = [each for each, its in left.items() if not its]
    while ends:
        end = ends.pop()
        del left[end]
        for each in back.get(end, ()):
            left[each].discard(end)
            if not left[each]:
                ends.append(each)
    return left
