"""Gather the lines of an import in batches, so that a few statements write many records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from api.core.json_text import is_refused_for_its_size
from api.records.nouns import RESOURCES
from api.sync.importing.lines import Entry, read_line, record_names
from api.sync.importing.spool import JSON_SPACE, Spool
from api.sync.importing.state import ImportRun
from schemas.vocabularies import ImportOp, RecordType

NumberedLine = tuple[int, bytes | None]
"""A line's number, from 1, and its bytes; null for a line that is too long."""

LineReader = Callable[[ImportRun, int, bytes | None], Entry | None]
"""Reads a line of an import; null for one that asks for nothing."""

MAX_LINES: Final = 500
FIRST_LINES: Final = 100
"""The first batch has fewer lines, since Postgres has nothing to write until it has been read.

Each further one has at most twice as many as the one before, so that it is ready when that is
written: Postgres takes more than twice as long for a line as the service.
"""
MAX_BYTES: Final = 4_194_304
"""How large a batch is, unless one line makes it larger; the next one is read beside it."""
PIECE_BYTES: Final = 262_144
"""After reading so many bytes, the thread is free for other work before it reads on."""
_LINE_COST: Final = 1_000
"""A line takes the time of that many bytes, however short it is."""


def gather_batches(
    run: ImportRun, lines: Iterable[NumberedLine], read: LineReader = read_line
) -> Iterator[list[Entry] | None]:
    """Gather lines that can be written together: with the same op, and no record twice.

    A null comes now and then, so that the thread is free for other work before it reads on.
    """
    batch: list[Entry] = []
    names: set[tuple[str, ...]] = set()
    size = piece = 0
    most = min(FIRST_LINES, MAX_LINES)
    op = ImportOp.UPSERT
    for number, raw in lines:
        if piece >= PIECE_BYTES:
            yield None
            piece = 0
        piece += _LINE_COST + len(raw or b"")
        entry = read(run, number, raw)
        if entry is None:
            continue
        own_names = record_names(entry.line)
        other_op = entry.line is not None and entry.line.op is not op
        full = len(batch) >= most or size >= MAX_BYTES
        if batch and (full or other_op or not names.isdisjoint(own_names)):
            yield batch
            batch, names, size, most = [], set(), 0, min(2 * most, MAX_LINES)
        batch.append(entry)
        names.update(own_names)
        size += entry.size
        op = entry.line.op if entry.line is not None else op
    if batch:
        yield batch


class LinesByType:
    """Lines in a file for each record type, in the order in which types can be written.

    A line without a known type comes first; it is refused when it is read in full.
    """

    def __init__(self) -> None:
        """Start with empty files."""
        self._spools: dict[RecordType | None, Spool] = {
            record_type: Spool() for record_type in (None, *RESOURCES)
        }

    def sort(self, lines: Iterable[NumberedLine]) -> Iterator[None]:
        """Put each line into the file of its type; pause after some of them."""
        size = 0
        for number, raw in lines:
            record_type = None if raw is None else _type_of(raw)
            text = b"" if raw is None else raw.strip(JSON_SPACE)
            self._spools[record_type].write(b"%d %b\n" % (number, text))
            size += _LINE_COST + len(text)
            if size >= MAX_BYTES:
                yield
                size = 0

    def __iter__(self) -> Iterator[Iterator[NumberedLine]]:
        """Give the lines of one type after another."""
        return (_numbered_lines(spool) for spool in self._spools.values())

    def close(self) -> None:
        """Remove the files."""
        for spool in self._spools.values():
            spool.close()


class _Typed(msgspec.Struct):
    type: RecordType


def _type_of(raw: bytes) -> RecordType | None:
    """Read the record type of a line; null for a line that is refused, whatever its type."""
    if is_refused_for_its_size(raw):
        return None  # to pass over so many values in one call would take too long
    try:
        return msgspec.json.decode(raw, type=_Typed).type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _numbered_lines(spool: Spool) -> Iterator[NumberedLine]:
    for line in spool.rewind():
        number, _, raw = line.partition(b" ")
        yield int(number), raw if raw.strip(JSON_SPACE) else None
