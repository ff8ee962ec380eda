"""Pieces: a file of lines, copied and cut into parts that are sent in one request each.

The file is copied first, because it may be a pipe, and a piece may have to be sent again. A piece
has a fixed number of lines: so each line has the same piece, and the same place in it, when a file
is sent again with some lines corrected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

import msgspec

from api.sync.transfer.errors import TransferError
from schemas.vocabularies import RecordType

PIECE_LINES: Final = 1_000
MAX_LINE_BYTES: Final = 68_157_440
"""No service takes a longer line, however it is set up."""
_READ_BYTES: Final = 65_536
_SPACE: Final = b" \t\r\n"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Piece(NamedTuple):
    """A part of the copy: the number of its first line, where it starts, and its bytes."""

    first_line: int
    start: int
    size: int


class Cut(NamedTuple):
    """A copied file: its pieces, the number of its lines, and the SHA-256 of what is sent."""

    pieces: list[Piece]
    lines: int
    digest: str


class Frame(msgspec.Struct):
    """What marks the first and the last line of an export, which name no record."""

    type: str | None = None
    cursor: str | None = None
    count: int | None = None


def cut_lines(
    parts: Iterator[bytes], copy: BinaryIO, record_type: RecordType | None, *, in_one: bool
) -> Cut:
    """Copy lines, and cut them into pieces, or into one.

    With a type, a line is a record of this type, as lists have it, and gets around it what an
    import needs.
    """
    digest = hashlib.sha256()
    pieces: list[Piece] = []
    first_line, start, place, number = 1, 0, 0, 0
    frames = _Frames(record_type)
    for number, line in enumerate(lines_of(parts), 1):
        frames.see(line)
        sent = (line if record_type is None else as_import_line(line, record_type)) + b"\n"
        copy.write(sent)
        digest.update(sent)
        place += len(sent)
        if not in_one and number % PIECE_LINES == 0:
            pieces.append(Piece(first_line, start, place - start))
            first_line, start = number + 1, place
    frames.end()
    if place > start or not pieces:  # an empty file is one empty piece
        pieces.append(Piece(first_line, start, place - start))
    copy.flush()
    return Cut(pieces, number, digest.hexdigest())


def copy_whole(parts: Iterator[bytes], copy: BinaryIO) -> Cut:
    """Copy a file that can't be cut, as one piece."""
    digest, size = hashlib.sha256(), 0
    for part in parts:
        copy.write(part)
        digest.update(part)
        size += len(part)
    copy.flush()
    return Cut([Piece(1, 0, size)], 1, digest.hexdigest())


def lines_of(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Give the lines of a file without their ends; raise an error if one is far too long."""
    begun: list[bytes] = []
    size = number = 0
    for part in parts:
        first, *others = part.split(b"\n")
        begun.append(first)
        size += len(first)
        for other in others:
            number += 1
            yield _without_mark(b"".join(begun), number)
            begun, size = [other], len(other)
        if size > MAX_LINE_BYTES:
            raise TransferError(f"Line {number + 1} is longer than {MAX_LINE_BYTES:,} bytes.")
    if size:
        yield _without_mark(b"".join(begun), number + 1)


def _without_mark(line: bytes, number: int) -> bytes:
    """Leave out the mark with which some programs begin a file in UTF-8."""
    return line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line


class _Record(msgspec.Struct):
    id: str | None = None
    version: int | None = None


def as_import_line(line: bytes, record_type: RecordType) -> bytes:
    """Put what an import needs around a record; the service refuses a line that is no record."""
    if not line.strip(_SPACE) or _frame(line).count is not None:
        return line
    try:
        record = msgspec.json.decode(line, type=_Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return line
    head = {"type": record_type.value, "id": record.id, "version": record.version}
    known = msgspec.json.encode({name: value for name, value in head.items() if value is not None})
    return b'%b,"data":%b}' % (known[:-1], line.strip(_SPACE))


_MAX_FRAME_BYTES: Final = 10_000


def _frame(line: bytes) -> Frame:
    """Read a line as the first or the last one of an export; other lines give an empty frame."""
    if len(line) <= _MAX_FRAME_BYTES:
        try:
            return msgspec.json.decode(line, type=Frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    return Frame()


class _Frames:
    """Looks at the first and the last line of a file, to refuse an export that was cut off."""

    def __init__(self, record_type: RecordType | None) -> None:
        self._type = record_type
        self._is_export = False
        self._last = b""
        self._seen = False

    def see(self, line: bytes) -> None:
        """Look at the next line."""
        if not self._seen:
            first = _frame(line)
            self._is_export = first.cursor is not None and first.type is None
            if self._is_export and self._type is not None:
                raise TransferError(
                    "The lines of this export name their types. Leave out `--type`."
                )
            self._seen = True
        if line.strip(_SPACE):
            self._last = line

    def end(self) -> None:
        """Refuse an export without its last line."""
        if self._is_export and _frame(self._last).count is None:
            raise TransferError(
                "The export in this file was cut off: its last line, which has the number of "
                "records, is missing. Export again."
            )
