"""The source of a mirror: another instance, read through its public API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, NamedTuple, TypeVar

import httpx
import msgspec
from msgspec import Struct

from api.sync.errors import USAGE
from api.sync.mirror.copies import Row
from api.sync.mirror.errors import MirrorError, ResyncRequired
from api.sync.remote import TransientFailure, explain_refusal, key_headers, read_address

BATCH_RECORDS: Final = 500
BATCH_BYTES: Final = 4_194_304
WAIT_SECONDS: Final = 30
"""How long the source may wait for a change before it answers."""
_TIMEOUT: Final = httpx.Timeout(15, read=2 * WAIT_SECONDS)


class ExportStart(Struct):
    """The first line of an export."""

    cursor: str
    types: list[str]


class ExportLine(Struct):
    """Any other line of an export: a record or, at the end, the number of records."""

    type: str = ""
    id: str = ""
    version: int = 0
    data: msgspec.Raw = msgspec.Raw()
    count: int | None = None


class SourceChange(Struct):
    """An item of the feed."""

    type: str
    id: str
    version: int
    record: msgspec.Raw


class SourceChanges(Struct):
    """A page of the feed."""

    items: list[SourceChange]
    next_cursor: str
    up_to_date: bool

    @property
    def rows(self) -> list[Row]:
        """The changes as rows to be kept or dropped."""
        return [Row(each.type, each.id, each.version, _text(each.record)) for each in self.items]


class Export(NamedTuple):
    """An export that is being read."""

    cursor: str
    batches: AsyncIterator[list[Row]]


@asynccontextmanager
async def connect(url: str, key: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """Make an HTTP client for an instance."""
    try:
        base = read_address(url)
    except ValueError as error:
        raise MirrorError(str(error), USAGE) from None
    try:
        headers = key_headers(key)
    except ValueError as error:
        raise MirrorError(f"MIRROR_KEY {error}", USAGE) from None
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=_TIMEOUT) as client:
        yield client


class Source(NamedTuple):
    """The other instance, and what the mirror takes from it."""

    client: httpx.AsyncClient
    url: str
    types: str  # the record types, separated by commas; "" for all
    reader: str  # the public id of the key, which stays when its secret changes; "" without a key

    @asynccontextmanager
    async def export(self) -> AsyncIterator[Export]:
        """Begin to read an export; it is complete when its batches have ended."""
        with _network_errors_are_transient():
            async with self.client.stream("GET", "/v1/export", params=self._wanted()) as answer:
                await _check(answer)
                lines = _lines(answer)
                first = await anext(lines, None)
                if first is None:
                    raise TransientFailure("The export was cut off before its first line.")
                start = _decode(first, ExportStart)
                yield Export(start.cursor, _batches(lines))

    async def changes(self, cursor: str, wait_seconds: int) -> SourceChanges:
        """Read the changes behind a cursor; if there are none, wait for one."""
        with _network_errors_are_transient():
            answer = await self.client.get(
                "/v1/changes",
                params={"since": cursor, "wait": str(wait_seconds), **self._wanted()},
            )
            await _check(answer)
        return _decode(answer.content, SourceChanges)

    def _wanted(self) -> dict[str, str]:
        return {"types": self.types} if self.types else {}


async def _check(answer: httpx.Response) -> None:
    """Raise the error that an answer means for the mirror, unless it is a success."""
    if answer.status_code == httpx.codes.OK:
        return
    message = explain_refusal(answer, await answer.aread(), "MIRROR_KEY")
    if answer.status_code == httpx.codes.GONE:
        raise ResyncRequired(message)
    raise MirrorError(f"The source refuses: {message}")


@contextmanager
def _network_errors_are_transient() -> Iterator[None]:
    try:
        yield
    except httpx.RequestError as error:
        reason = str(error) or type(error).__name__
        raise TransientFailure(f"The source is out of reach: {reason}.") from error


Decoded = TypeVar("Decoded", bound=Struct)


def _decode(text: bytes, struct: type[Decoded]) -> Decoded:
    try:
        return msgspec.json.decode(text, type=struct)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MirrorError(
            f"The source's answer is not one that this version understands: {error}."
        ) from error


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    """Give the lines of an answer as they come; a last line without an end is left out."""
    parts: list[bytes] = []
    async for chunk in answer.aiter_bytes():
        first, *others = chunk.split(b"\n")
        parts.append(first)
        for part in others:
            yield b"".join(parts)
            parts = [part]


async def _batches(lines: AsyncIterator[bytes]) -> AsyncIterator[list[Row]]:
    """Gather the records of an export; without its last line it was cut off."""
    batch: list[Row] = []
    count = size = 0
    async for text in lines:
        line = _decode(text, ExportLine)
        if line.count is not None:
            yield batch
            if line.count != count:
                raise TransientFailure(f"The export has {count} of {line.count} records.")
            return
        batch.append(Row(line.type, line.id, line.version, _text(line.data)))
        count += 1
        size += len(text)
        if len(batch) >= BATCH_RECORDS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    raise TransientFailure("The export was cut off.")


def _text(raw: msgspec.Raw) -> str | None:
    """Give a record's own bytes as text; null for null."""
    text = bytes(raw).decode()
    return None if text == "null" else text
