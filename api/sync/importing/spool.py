"""Spools: temporary files of lines, because there may be any number of lines."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Final

import msgspec

from api.core.errors import STORAGE_FULL, Problem

CHUNK: Final = 65_536
JSON_SPACE: Final = b" \t\r\n"  # bytes.strip() without an argument strips more
_FULL: Final = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOENT,  # of all directories for temporary files, none takes one
}


class Spool:
    """A temporary file of JSON lines, which is removed when it is closed.

    Each method that may have to write raises a problem if there is no space for it.
    """

    def __init__(self) -> None:
        """Open an empty file."""
        with _needing_space():
            self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._encoder = msgspec.json.Encoder()

    def write(self, data: bytes) -> None:
        """Append bytes."""
        with _needing_space():
            self.file.write(data)

    def add(self, value: Any) -> None:  # noqa: ANN401 - JSON
        """Append a value."""
        self.write(self._encoder.encode(value) + b"\n")

    def keep(self) -> int:
        """Make sure that all that was written is in the file; give its size."""
        with _needing_space():
            self.file.flush()
        return self.file.tell()

    def cut(self, size: int) -> None:
        """Remove what was written behind a size."""
        self.file.seek(size)
        self.file.truncate()

    def rewind(self) -> BinaryIO:
        """Give the file, to be read from its start."""
        self.keep()
        self.file.seek(0)
        return self.file

    def __iter__(self) -> Iterator[Any]:
        """Give the values in the order in which they were added."""
        decode = msgspec.json.Decoder().decode
        for line in self.rewind():
            yield decode(line)

    def close(self) -> None:
        """Remove the file."""
        with suppress(OSError):  # there was no space for the rest of it
            self.file.close()


@contextmanager
def _needing_space() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        detail = "The service has no space left for temporary files."
        raise Problem(STORAGE_FULL, detail) from error


def numbered_lines(spool: Spool, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Give a file's lines with their numbers, from 1.

    Blank lines are counted but not given. For a line of more than `limit` bytes, null is given.
    """
    file = spool.rewind()
    number = 0
    while line := file.readline(limit + 2):
        number += 1
        if len(line.rstrip(b"\r\n")) > limit:
            while line and not line.endswith(b"\n"):
                line = file.readline(CHUNK)
            yield number, None
        elif line.strip(JSON_SPACE):
            yield number, line
