"""Import over HTTP: the lines of a file, sent in pieces, each of which can be sent again.

The idempotency key of a piece is made from the content of the file, or from what the user gives,
and from the number of its first line. So the service recognises each line that names no record, and
creates nothing twice, whatever was cut off and wherever the command was stopped. A line with an id
or an external id is written again, also over what others have changed meanwhile.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Final, NamedTuple, TextIO, cast

from api.sync.transfer.instance import Instance
from api.sync.transfer.outcomes import Counts, added, described, read_outcomes
from api.sync.transfer.pieces import Cut, Piece
from schemas.vocabularies import RecordType

PIECE_SECONDS: Final = 300.0
"""How long the service may take to answer for a piece."""
WHOLE_SECONDS: Final = 3_600.0
"""How long it may take for a file that is written, or tried, in one transaction."""
_SENT_BYTES: Final = 65_536
_REPORT_MEMORY: Final = 1_048_576


class Form(NamedTuple):
    """A form in which records are imported: its media type, and what its results are about."""

    media_type: str
    unit: str


LINES: Final = Form("application/x-ndjson", "line")
FORMS: Final = {
    "ndjson": LINES,
    "csv": Form("text/csv", "row"),
    "jsonld": Form("application/ld+json", "review"),
}
"""The forms by the endings of files."""


class Way(NamedTuple):
    """How to import: with which prefix of the idempotency keys, and with which parameters."""

    form: Form
    key: str
    table_of: RecordType | None
    atomic: bool
    dry_run: bool

    @property
    def in_one(self) -> bool:
        """Whether the whole file has to be in one request."""
        return self.atomic or self.dry_run or self.form is not LINES

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The query to send."""
        given = {"atomic": self.atomic, "dry_run": self.dry_run}
        flags = [(name, "true") for name, value in given.items() if value]
        return flags if self.table_of is None else [*flags, ("type", self.table_of.value)]


class Import:
    """One run of the command."""

    def __init__(self, instance: Instance, copy: BinaryIO, cut: Cut, way: Way) -> None:
        """Take a file that was copied and cut."""
        self._instance, self._copy, self._cut, self._way = instance, copy, cut, way
        self.counts: Counts = {}
        self.answered = 0
        """Up to which line of the file the service has answered."""

    def run(self, report: TextIO) -> None:
        """Send one piece after the other, and report the lines that are refused."""
        nexts = [piece.first_line for piece in self._cut.pieces[1:]]
        for piece, behind in zip(self._cut.pieces, [*nexts, self._cut.lines + 1], strict=True):
            with _reporting(report) as draft:
                counts = self._instance.persist(partial(self._send, piece, draft))
            self.counts, self.answered = added(self.counts, counts), behind - 1
            self._instance.progress.show(self.how_far)

    @property
    def how_far(self) -> str:
        """How far the import is, for people."""
        answered = f"{self.answered:,} of {self._cut.lines:,} lines are answered"
        if self._way.form is not LINES:
            answered = "The file is answered" if self.answered else "The file is not answered"
        return f"{answered}: {described(self.counts)}" if self.counts else answered

    def _send(self, piece: Piece, draft: TextIO) -> Counts:
        """Send a piece once, and draft the report of it anew."""
        draft.seek(0)
        draft.truncate()
        with self._instance.answer(
            "POST",
            "/v1/import",
            self._way.parameters,
            headers={
                "content-type": self._way.form.media_type,
                "content-length": str(piece.size),
                "idempotency-key": f"{self._way.key}/{piece.first_line}",
            },
            body=self._body(piece),
            read_seconds=WHOLE_SECONDS if self._way.in_one else PIECE_SECONDS,
        ) as answer:
            unit = self._way.form.unit
            return read_outcomes(answer.iter_bytes(), unit, piece.first_line - 1, draft)

    def _body(self, piece: Piece) -> Iterator[bytes]:
        """Read a piece of the copy."""
        self._copy.seek(piece.start)
        left = piece.size
        while left:
            part = self._copy.read(min(left, _SENT_BYTES))
            left -= len(part)
            yield part
            if self._way.in_one:
                sent = f"{piece.size - left:,} of {piece.size:,} bytes are sent"
                self._instance.progress.show(sent)


@contextmanager
def _reporting(report: TextIO) -> Iterator[TextIO]:
    """Give a draft of the report, which is printed when the piece has been answered."""
    with SpooledTemporaryFile(_REPORT_MEMORY, "w+", encoding="utf-8") as draft:
        text = cast("TextIO", draft)
        yield text
        text.seek(0)
        shutil.copyfileobj(text, report)
        report.flush()
