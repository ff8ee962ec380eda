"""`claim-records mirror`: a copy of another instance, made and kept by its public API alone.

Take the export, then follow the change feed from the cursor in the export's first line. Three rules
make the copy right, whatever happens in between:

- The cursor is stored in the transaction that applies what it stands for. A process that is killed
  goes on where it was, and applies nothing twice.
- A record is written only over a lower version of itself, and dropped only if it is not newer. So
  it does no harm that the feed repeats what the export had already.
- An export that was cut off is taken again, but the feed is followed from the *first* cursor: what
  was deleted between the two exports is told there, and would else stay in the copy for ever.

When the feed cannot go on from a cursor (410), and when the copy is for another key or for other
types than before, a new generation of it begins with a new export; what that no longer has is
dropped at its end, so readers see no empty copy.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple, TypeVar

import httpx
import msgspec
from msgspec import Struct

from api.access.keyring import identity_of
from api.sync.copies import Copy, MirrorError, Phase, Row, State, opened
from schemas.vocabularies import RecordType

BATCH_RECORDS: Final = 500
BATCH_BYTES: Final = 4_194_304
WAIT_SECONDS: Final = 30
"""How long the source may keep a question for changes until there are some."""
_TIMEOUT: Final = httpx.Timeout(15, read=2 * WAIT_SECONDS)
_FIRST_PAUSE: Final = 0.5
_MAX_PAUSE: Final = 30.0
_MAX_BIDDEN: Final = 3_600.0
_USAGE: Final = 2
_FORMERLY_ALL: Final = "source,article,claim,denial"
"""What a copy has as its types that was made of all records before they were left unnamed."""
_RETRIED: Final = {408, 425, 429, *range(500, 600)}

log = logging.getLogger("claim_records.mirror")


class Header(Struct):
    """The first line of an export."""

    cursor: str
    types: list[str]


class Line(Struct):
    """Any other: a record, or, last, how many there were."""

    type: str = ""
    id: str = ""
    version: int = 0
    data: msgspec.Raw = msgspec.Raw()
    count: int | None = None


class Change(Struct):
    """An item of the feed."""

    type: str
    id: str
    version: int
    record: msgspec.Raw


class Changes(Struct):
    """A page of the feed."""

    items: list[Change]
    next_cursor: str
    up_to_date: bool


class Transient(Exception):  # noqa: N818 - it passes
    """The source can't be reached, or is busy: to be tried again."""

    def __init__(self, message: str, seconds: float = 0) -> None:
        """Say what happened, and how long the source asks to wait."""
        super().__init__(message)
        self.seconds = seconds


class Resync(Exception):  # noqa: N818 - a turn of the way
    """The feed can't go on from the cursor: everything has to be read anew."""


def run(
    url: str, target: str, key: str | None, types: Collection[RecordType], *, once: bool
) -> int:
    """Mirror until the work is done, or a signal comes; give its number then, else 0."""
    signals: list[int] = []

    async def until_stopped() -> None:
        work = asyncio.create_task(mirror(url, target, key, types, once=once))

        def stop(number: int) -> None:
            signals.append(number)
            work.cancel()  # a transaction that has begun is rolled back

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
        try:
            await work
        except asyncio.CancelledError:
            if not signals:
                raise

    asyncio.run(until_stopped())
    return signals[0] if signals else 0


async def mirror(
    url: str, target: str, key: str | None, types: Collection[RecordType], *, once: bool = False
) -> None:
    """Make a copy of an instance, and keep it; with `once`, until it is up to date.

    Without types it is a copy of all records, also of types that the source gets later.
    """
    listed = ",".join(of for of in RecordType if of in types)
    async with connected(url, key) as client, opened(target) as copy:
        reader = identity_of(key or "") or ""
        this = Mirror(Source(client, str(client.base_url), listed, reader), copy, once=once)
        telling = asyncio.create_task(this.progress.tell())
        try:
            await this.run()
        finally:
            telling.cancel()
            this.progress.log()


@asynccontextmanager
async def connected(url: str, key: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of an instance."""
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise MirrorError(f"{url} is no URL: {error}.", _USAGE) from None
    if base.scheme not in {"http", "https"} or not base.host or base.userinfo or base.query:
        raise MirrorError("The source is an http:// or https:// URL without a user.", _USAGE)
    if key and not (key.isascii() and key.isprintable()):
        raise MirrorError("MIRROR_KEY is no key of this service's.", _USAGE)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=_TIMEOUT) as client:
        yield client


# --- the source ----------------------------------------------------------------------------------


class Export(NamedTuple):
    """An export that is being read."""

    cursor: str
    batches: AsyncIterator[list[Row]]


class Source(NamedTuple):
    """The other instance, and what is wanted of it."""

    client: httpx.AsyncClient
    url: str
    types: str  # of the records, with commas; "" for all
    reader: str  # whose key is used, by its public id, which it keeps; "" without a key

    @asynccontextmanager
    async def export(self) -> AsyncIterator[Export]:
        """Begin to read an export; it is complete when its batches have ended."""
        with _passing():
            async with self.client.stream("GET", "/v1/export", params=self._wanted()) as answer:
                await _check(answer)
                lines = _lines(answer)
                first = await anext(lines, None)
                if first is None:
                    raise Transient("The export was cut off before it began.")
                header = _read(first, Header)
                yield Export(header.cursor, _batches(lines))

    async def changes(self, cursor: str, seconds: int) -> Changes:
        """Read the changes behind a cursor; wait for some as long as that."""
        with _passing():
            answer = await self.client.get(
                "/v1/changes",
                params={"since": cursor, "wait": str(seconds), **self._wanted()},
            )
            await _check(answer)
        return _read(answer.content, Changes)

    def _wanted(self) -> dict[str, str]:
        return {"types": self.types} if self.types else {}


async def _check(answer: httpx.Response) -> None:
    """Pass a success; sort out what a refusal means."""
    if answer.status_code == httpx.codes.OK:
        return
    told = _told(await answer.aread())
    said = f"{answer.url.path} answered {answer.status_code}" + (f": {told}" if told else ".")
    if answer.status_code == httpx.codes.GONE:
        raise Resync(said)
    if answer.status_code in _RETRIED:
        raise Transient(said, _bidden(answer))
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        said += " The key goes into the environment variable MIRROR_KEY."
    raise MirrorError(f"The source refuses: {said}")


class _Problem(Struct):
    detail: str = ""


def _told(body: bytes) -> str:
    """Read what a problem says; "" of anything else, such as a proxy's page."""
    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode(body, type=_Problem).detail
    return ""


def _bidden(answer: httpx.Response) -> float:
    """Read Retry-After, in seconds (RFC 9110, section 10.2.3)."""
    value = answer.headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        return float(value)
    with suppress(ValueError):
        moment = parsedate_to_datetime(value)
        return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return 0.0


@contextmanager
def _passing() -> Iterator[None]:
    """Say of what happens on the network that it passes."""
    try:
        yield
    except httpx.RequestError as error:
        what = str(error) or type(error).__name__
        raise Transient(f"The source is out of reach: {what}.") from error


Read = TypeVar("Read", bound=Struct)


def _read(text: bytes, what: type[Read]) -> Read:
    try:
        return msgspec.json.decode(text, type=what)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MirrorError(f"The source does not speak as this version does: {error}.") from error


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    """Give the lines of an answer as they come; what has no end is not given."""
    parts: list[bytes] = []
    async for chunk in answer.aiter_bytes():
        first, *others = chunk.split(b"\n")
        parts.append(first)
        for part in others:
            yield b"".join(parts)
            parts = [part]


async def _batches(lines: AsyncIterator[bytes]) -> AsyncIterator[list[Row]]:
    """Gather the records of an export; one without its last line was cut off."""
    batch: list[Row] = []
    count = size = 0
    async for text in lines:
        line = _read(text, Line)
        if line.count is not None:
            yield batch
            if line.count != count:
                raise Transient(f"The export has {count} of {line.count} records.")
            return
        batch.append(Row(line.type, line.id, line.version, _text(line.data)))
        count += 1
        size += len(text)
        if len(batch) >= BATCH_RECORDS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    raise Transient("The export was cut off.")


def _text(raw: msgspec.Raw) -> str | None:
    """Give a record's own bytes as text; null for null."""
    text = bytes(raw).decode()
    return None if text == "null" else text


# --- the copy ------------------------------------------------------------------------------------


class Mirror:
    """One run."""

    def __init__(self, source: Source, copy: Copy, *, once: bool) -> None:
        """Take a source, and a copy that nobody else writes to."""
        self.progress = Progress()
        self._source = source
        self._copy = copy
        self._once = once
        self._state: State | None = None
        self._anew = False
        self._up_to_date = False
        self._failures = 0  # one after the other

    async def run(self) -> None:
        """Make the copy, or go on with it, and follow the source."""
        self._state = await self._copy.state()
        if self._state is not None and self._state.source != self._source.url:
            raise MirrorError(f"This is a copy of {self._state.source}; name another target.")
        wanted = self._source.types, self._source.reader
        if self._state is not None and (self._state.types, wanted[0]) == (_FORMERLY_ALL, ""):
            self._state = self._state._replace(types="")
        if self._state is not None and (self._state.types, self._state.reader) != wanted:
            self._anew = True
            log.info("A new export is needed: other types, or another key, than before")
        done = False
        while not done:
            try:
                done = await self._go_on()
            except Resync as reason:
                self._anew = True
                await self._rest(f"A new export is needed: {reason}", 0)
            except Transient as reason:
                await self._rest(str(reason), reason.seconds)

    async def _go_on(self) -> bool:
        """Take the export, or one page of the feed; tell whether that was all."""
        state = self._state
        if state is None or self._anew or state.phase is Phase.COPYING:
            await self._take()
            return False
        page = await self._source.changes(state.cursor, WAIT_SECONDS if self._up_to_date else 0)
        rows = [Row(c.type, c.id, c.version, _text(c.record)) for c in page.items]
        self._state = state._replace(cursor=page.next_cursor)
        if self._state != state:
            await self._copy.apply(rows, self._state)
        self._failures = 0
        self.progress.changes += len(rows)
        self._up_to_date = page.up_to_date
        self.progress.at = "up to date" if page.up_to_date else "catching up"
        return self._once and page.up_to_date

    async def _take(self) -> None:
        """Copy an export, one that is begun anew or one that was cut off."""
        async with self._source.export() as export:
            state = self._state
            if state is None or self._anew:
                generation = state.generation + 1 if state else 1
                state = State(
                    self._source.url,
                    self._source.types,
                    self._source.reader,
                    export.cursor,
                    generation,
                    Phase.COPYING,
                )
                await self._copy.begin(state)
                self._state, self._anew = state, False
            self.progress.records, self.progress.at = 0, "copying"
            async for rows in export.batches:
                await self._copy.keep(rows, state.generation)
                self.progress.records += len(rows)
        self._state = state._replace(phase=Phase.FOLLOWING)
        await self._copy.finish(self._state)

    async def _rest(self, reason: str, bidden: float) -> None:
        """Wait, longer each time, and not all mirrors of a source as long."""
        self._up_to_date = False
        longest = min(_MAX_PAUSE, _FIRST_PAUSE * 2 ** min(self._failures, 10))
        pause = max(longest * random.uniform(0.5, 1), min(bidden, _MAX_BIDDEN))  # noqa: S311 - no secret
        self._failures += 1
        log.warning("%s Going on in %.1f s", reason, pause)
        await asyncio.sleep(pause)


class Progress:
    """What is told on stderr: a line a second at most, where something has changed."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.records = 0
        self.changes = 0
        self.at = "connecting"
        self._told = ""

    async def tell(self) -> None:
        """Tell how far it is, until that is no longer wanted."""
        while True:
            await asyncio.sleep(1)
            self.log()

    def log(self) -> None:
        """Tell how far it is, if that is not known."""
        line = f"{self.records:,} records copied, {self.changes:,} changes applied; {self.at}"
        if line != self._told:
            self._told = line
            log.info(line)
