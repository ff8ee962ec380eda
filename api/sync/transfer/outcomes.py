"""Outcomes: what the answer to an import says of each line, and in total."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TextIO

import msgspec
from msgspec import Struct

from api.sync.remote import TransientFailure
from api.sync.transfer.errors import TransferError
from api.sync.transfer.pieces import lines_of

_MAX_ERRORS: Final = 10
"""How many faults of one line are printed."""
_NOT_APPLIED: Final = "not-applied"
"""The code of a line that is valid, while another line of its atomic import was refused."""

Counts = dict[str, int]
"""How many lines had each result, by the names in the totals of an import."""


class _Fault(Struct):
    detail: str = ""
    pointer: str = ""


class _Problem(Struct):
    code: str = ""
    detail: str = ""
    errors: list[_Fault] = []


class _Line(Struct):
    """A line of an answer: the result of a line that was sent or, at the end, the totals."""

    line: int = 0
    status: int = 0
    problem: _Problem | None = None
    totals: Counts | None = None


def read_outcomes(parts: Iterator[bytes], before: int, report: TextIO) -> Counts:
    """Read an answer; report each line that was refused, and give the totals.

    `before` is how many lines of the file stand before the first line that was sent.
    """
    totals: Counts | None = None
    for text in lines_of(parts):
        line = _decoded(text)
        if line.totals is not None:
            totals = line.totals
        elif line.problem is not None and line.problem.code != _NOT_APPLIED:
            report.write(f"line {before + line.line}: {line.status} {_faults_of(line.problem)}\n")
    if totals is None:
        raise TransientFailure("The answer was cut off.")
    return totals


def added(counts: Counts, more: Counts) -> Counts:
    """Add up two totals."""
    return {name: counts.get(name, 0) + more.get(name, 0) for name in {**counts, **more}}


def described(counts: Counts) -> str:
    """Write totals for people, without what there was none of."""
    named = [
        f"{count:,} {name.replace('_', ' ')}"
        for name, count in counts.items()
        if count and name != "lines"
    ]
    return ", ".join(named) or "nothing to write"


def _faults_of(problem: _Problem) -> str:
    """Write a problem in one line, with its faults."""
    faults = [f"{each.pointer or '/'}: {each.detail}" for each in problem.errors[:_MAX_ERRORS]]
    if len(problem.errors) > _MAX_ERRORS:
        faults.append(f"and {len(problem.errors) - _MAX_ERRORS} more.")
    return f"{problem.code}: {' '.join(' '.join(faults or [problem.detail]).split())}"


def _decoded(text: bytes) -> _Line:
    try:
        return msgspec.json.decode(text, type=_Line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        message = f"The service's answer is not one that this version understands: {error}."
        raise TransferError(message) from error
