"""Export over HTTP: all records that a key sees, or one list, written to a file or to stdout.

A file is written beside its place and takes its name when it is whole. If the connection breaks,
the export begins anew: the service streams a list in one answer, and can't go on from its middle.
What was printed on stdout can't be taken back, so the command fails then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from api.core.codings import ENCODERS
from api.core.sql import plural
from api.sync.remote import TransientFailure
from api.sync.transfer.errors import TransferError
from api.sync.transfer.files import new_file
from api.sync.transfer.instance import Instance
from api.sync.transfer.wholeness import Whole, WholeLines, WholePlaces, WholeTable
from schemas.vocabularies import RecordType

LINES: Final = "ndjson"
TABLE: Final = "csv"
PLACES: Final = "geojson"
FORMATS: Final = (LINES, TABLE, PLACES)
"""The formats of lists by their names in the API, which are also the endings of files."""
TRAILER: Final = ("trailer", "1")


class Wanted(NamedTuple):
    """What to export: all records without a type, otherwise the list of a type."""

    type: RecordType | None
    query: Sequence[tuple[str, str]]
    format: str
    coding: str

    @property
    def path(self) -> str:
        """The path to ask for."""
        return "/v1/export" if self.type is None else f"/v1/{plural(self.type)}"

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The query to send."""
        own = [] if self.type is None else [("format", self.format)]
        if self.format == TABLE and not self._asks_for_trailer:
            own.append(TRAILER)
        return [*self.query, *own]

    @property
    def _asks_for_trailer(self) -> bool:
        return any(name == TRAILER[0] for name, _ in self.query)

    def whole(self) -> Whole:
        """Make what tells whether an answer is whole."""
        if self.format == TABLE:
            return WholeTable(keep_trailer=self._asks_for_trailer)
        if self.format == PLACES:
            return WholePlaces()
        return WholeLines(headers=1 if self.type is None else 0)


class Exported(NamedTuple):
    """What was exported: how many records (null if they are not counted), and how many bytes."""

    records: int | None
    size: int

    def __str__(self) -> str:
        """Write both, for people."""
        counted = "" if self.records is None else f"{self.records:,} records, "
        return f"{counted}{self.size:,} bytes"


def export_to_file(instance: Instance, wanted: Wanted, file: Path) -> Exported:
    """Write an export into a file, which is whole or not there."""
    with new_file(file) as out:

        def write_anew() -> Exported:
            out.seek(0)
            out.truncate()
            return _write(instance, wanted, out.write)

        return instance.persist(write_anew)


def export_to_stream(instance: Instance, wanted: Wanted, out: BinaryIO) -> Exported:
    """Write an export to a stream, from which nothing can be taken back."""
    size = 0

    def write(piece: bytes) -> int:
        nonlocal size
        size += len(piece)
        return out.write(piece)

    def write_once() -> Exported:
        try:
            return _write(instance, wanted, write)
        except TransientFailure as failure:
            if not size:
                raise
            message = f"{failure} What was printed is not whole; an export to a file is repeated."
            raise TransferError(message) from failure

    exported = instance.persist(write_once)
    out.flush()
    return exported


def _write(instance: Instance, wanted: Wanted, write: Callable[[bytes], int]) -> Exported:
    """Write the answer to one request; raise a transient failure if it is cut off."""
    whole, encoder, size = wanted.whole(), ENCODERS[wanted.coding](), 0
    with instance.answer("GET", wanted.path, wanted.parameters) as answer:
        for piece in answer.iter_bytes():
            ready = whole.take(piece)
            size += write(encoder.compress(ready))
            instance.progress.show(str(Exported(whole.records, size)))
    size += write(encoder.compress(whole.end()) + encoder.flush())
    return Exported(whole.records, size)
