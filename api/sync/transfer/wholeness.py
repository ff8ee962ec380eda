"""Wholeness: whether the answer to an export has arrived to its end, told by its last bytes."""

from __future__ import annotations

import re
from typing import Final, Protocol

from api.sync.remote import TransientFailure

_TAIL: Final = 100
"""How many of the last bytes are kept; what ends an export is shorter."""
_COUNT: Final = re.compile(rb'(?:\A|\n)\{"count":(\d{1,20})\}\n\Z')
_TRAILER: Final = re.compile(rb"#count,(\d{1,20})\r\n\Z")
_ENDS_OF_PLACES: Final = (b"}]}", b'"features":[]}')
_CUT_OFF: Final = "The export was cut off."


class Whole(Protocol):
    """Passes an export on, and tells at its end whether it is whole."""

    records: int | None
    """How many records have passed; null if they are not counted."""

    def take(self, piece: bytes) -> bytes:
        """Take a piece of the export; give what may be written."""
        ...

    def end(self) -> bytes:
        """Give the rest of what may be written; raise an error if the export is not whole."""
        ...


class WholeLines:
    """An export as JSON lines, of which the last has the number of records."""

    records: int | None

    def __init__(self, headers: int = 0) -> None:
        """Take how many lines come before the first record."""
        self.records = self._count = -headers
        self._tail = b""

    def take(self, piece: bytes) -> bytes:
        """Count the lines."""
        self._count += piece.count(b"\n")
        self.records = max(self._count, 0)
        self._tail = (self._tail + piece)[-_TAIL:]
        return piece

    def end(self) -> bytes:
        """Compare the number of records with the last line."""
        _require_count(_COUNT.search(self._tail), self._count - 1)
        self.records = self._count - 1
        return b""


class WholeTable:
    """An export as CSV, of which the last line has the number of records.

    That line is not for the file, unless the user has asked for it.
    """

    records: int | None

    def __init__(self, *, keep_trailer: bool) -> None:
        """Start before the line with the names of the columns."""
        self._count = -1
        self.records = 0
        self._quotes = 0
        self._tail = b""
        self._keep_trailer = keep_trailer

    def take(self, piece: bytes) -> bytes:
        """Count the lines that end outside of quotes; hold the last bytes back."""
        for number, part in enumerate(piece.split(b'"'), self._quotes):
            if number % 2 == 0:
                self._count += part.count(b"\n")
        self._quotes += piece.count(b'"')
        self.records = max(self._count, 0)
        ready = self._tail + piece
        self._tail = ready[-_TAIL:]
        return ready[: -len(self._tail)] if self._tail else b""

    def end(self) -> bytes:
        """Compare the number of records with the last line."""
        found = _TRAILER.search(self._tail)
        _require_count(found if self._quotes % 2 == 0 else None, self._count - 1)
        self.records = self._count - 1
        return self._tail if self._keep_trailer else _TRAILER.sub(b"", self._tail)


class WholePlaces:
    """An export as GeoJSON, which ends behind its last feature, or behind its empty list.

    A text may have the same characters, so strings are told apart by their quotation marks.
    """

    records: int | None = None

    def __init__(self) -> None:
        """Start before the first byte."""
        self._tail = b""
        self._quotes = 0
        self._escape = b""

    def take(self, piece: bytes) -> bytes:
        """Count the quotation marks without a backslash; remember the last bytes."""
        text = self._escape + piece
        backslashes = len(text) - len(text.rstrip(b"\\"))
        self._escape = b"\\" * (backslashes % 2)
        text = text.removesuffix(self._escape)
        self._quotes += text.replace(rb"\\", b"").replace(rb"\"", b"").count(b'"')
        self._tail = (self._tail + piece)[-_TAIL:]
        return piece

    def end(self) -> bytes:
        """Look for the end of the collection."""
        if self._quotes % 2 or not self._tail.endswith(_ENDS_OF_PLACES):
            raise TransientFailure(_CUT_OFF)
        return b""


def _require_count(found: re.Match[bytes] | None, count: int) -> None:
    if found is None:
        raise TransientFailure(_CUT_OFF)
    if int(found[1]) != count:
        raise TransientFailure(f"The export has {count} of {int(found[1])} records.")
