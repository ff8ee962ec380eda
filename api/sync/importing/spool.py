"""Spools: temporary files of lines, because there may be any number of lines."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import msgspec

CHUNK: Final = 65_536
JSON_SPACE: Final = b" \t\r\n"  # bytes.strip() without an argument strips more


class Spool:
    """A temporary file of JSON lines, which is removed when it is closed."""

    def __init__(self) -> None:
        """Open an empty file."""
        self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._encoder = msgspec.json.Encoder()

    def add(self, value: Any) -> None:  # noqa: ANN401 - JSON
        """Append a value."""
        self.file.write(self._encoder.encode(value) + b"\n")

    def __iter__(self) -> Iterator[Any]:
        """Give the values in the order in which they were added."""
        self.file.seek(0)
        decode = msgspec.json.Decoder().decode
        for line in self.file:
            yield decode(line)

    def chunks(self) -> Iterator[bytes]:
        """Give the file's bytes in pieces."""
        self.file.seek(0)
        while chunk := self.file.read(CHUNK):
            yield chunk

    def close(self) -> None:
        """Remove the file."""
        self.file.close()


def numbered_lines(file: BinaryIO, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Give a file's lines with their numbers, from 1.

    Blank lines are counted but not given. For a line of more than `limit` bytes, null is given.
    """
    file.seek(0)
    number = 0
    while line := file.readline(limit + 2):
        number += 1
        if len(line.rstrip(b"\r\n")) > limit:
            while line and not line.endswith(b"\n"):
                line = file.readline(CHUNK)
            yield number, None
        elif line.strip(JSON_SPACE):
            yield number, line
