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
_OPTIONS: Final = {
    "`atomic=true`": "`--atomic`",
    "`dry_run=true`": "`--dry-run`",
    "`dry_run`": "`--dry-run`",
}
"""What the command calls the parameters that the service names in its messages."""

Counts = dict[str, int]
"""How many lines had each result, by the names in the totals of an import."""


class _Fault(Struct):
    detail: str = ""
    pointer: str = ""


class _Problem(Struct):
    status: int = 0
    code: str = ""
    detail: str = ""
    errors: list[_Fault] = []


class _Line(Struct):
    """A line of an answer: the result of a line that was sent, or of a cell, or the totals."""

    line: int = 0
    row: int = 0
    column: str | None = None
    was: str | None = None
    becomes: str | None = None
    problem: _Problem | None = None
    ignored: bool = False
    totals: Counts | None = None


def read_outcomes(parts: Iterator[bytes], unit: str, before: int, report: TextIO) -> Counts:
    """Read an answer; report what was refused and which cells would change; give the totals.

    A result is about a `unit`, such as a line. `before` is how many of them stand in the file
    before the first one that was sent.
    """
    totals: Counts | None = None
    for line in _decoded(parts):
        if line.totals is not None:
            totals = line.totals
            continue
        place = f"{unit} {before + (line.line or line.row)}"
        if line.column is not None:
            place += f", column {line.column}"
        if line.problem is not None and line.ignored:
            report.write(f"{place}: {line.problem.detail}\n")
        elif line.problem is not None:
            if line.problem.code != _NOT_APPLIED:
                report.write(f"{place}: {_faults_of(line.problem)}\n")
        elif line.row:
            report.write(f"{place}: {_shown(line.was)} becomes {_shown(line.becomes)}\n")
    if totals is None:
        raise TransientFailure("The answer was cut off.")
    return totals


def with_options(message: str) -> str:
    """Name the options of the command in a message of the service about its parameters."""
    for parameter, option in _OPTIONS.items():
        message = message.replace(parameter, option)
    return message


def _shown(cell: str | None) -> str:
    """Write what a cell has, in one line."""
    return "nothing" if cell is None else msgspec.json.encode(cell).decode()


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
    told = " ".join(" ".join(faults or [problem.detail]).split())
    return f"{problem.status} {problem.code}: {with_options(told)}"


def _decoded(parts: Iterator[bytes]) -> Iterator[_Line]:
    """Decode an answer; if its last line can't be read, it may have been cut off there."""
    unread: msgspec.MsgspecError | UnicodeDecodeError | None = None
    for text in lines_of(parts):
        if unread is not None:
            message = f"The service's answer is not one that this version understands: {unread}."
            raise TransferError(message) from unread
        try:
            yield msgspec.json.decode(text, type=_Line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            unread = error
    if unread is not None:
        raise TransientFailure(f"The last line of the answer can't be read: {unread}.") from unread
