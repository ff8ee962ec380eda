"""A process of several writers, through SQL as psql would, or through the API.

Each notes what it knows to be committed, and when it knew; what it can't know is left open. They
write until SIGTERM, and leave what they counted beside their notes.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

import asyncpg
import httpx
import msgspec

from api.core.db import DATABASE_ERRORS
from tests.soak import bound

Connection = Any  # asyncpg.Connection, closed or not
Known = tuple[str, str, int]
"""A change: type, id, version."""

TABLES: Final = {
    "source": "sources",
    "article": "articles",
    "claim": "claims",
    "denial": "denials",
}
_INSERT: Final = {
    "source": "INSERT INTO sources (id, kind, identification, name, note)"
    " VALUES ($1, 'person', 'named', $2, $3)",
    "article": "INSERT INTO articles (id, headline, text, note) VALUES ($1, $2, $2, $3)",
    "claim": "INSERT INTO claims (id, text, note) VALUES ($1, $2, $3)",
    "denial": "INSERT INTO denials (id, text, kind, observed_by, targets, note)"
    " VALUES ($1, $2, 'full_denial', 'responder_statement', '[]', $3)",
}
_MANY: Final = """
    INSERT INTO claims (id, text, note)
    SELECT gen_random_uuid(), 'One of many: ' || n, $1 FROM generate_series(1, $2) AS n
    RETURNING id::text, version"""
_LIVE: Final = "deleted_at IS NULL"
_HELD_SECONDS: Final = (2.0, 9.0)
_REMEMBERED: Final = 200
POST_NOTE: Final = "posted once "
"""Begins the note of what one POST creates; where two records have the same, it was done twice."""


class Task(NamedTuple):
    """What a process of writers is told."""

    how: str  # `sql` or `api`
    writers: int
    url: str
    addresses: list[str]
    key: str
    shared: list[str]  # sources that all of them update
    pause: float  # seconds between two transactions of a writer, on average
    seed: int
    notes: str


class Notes:
    """What the process knows, and how often what happened."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self.counts: Counter[str] = Counter()
        self._path = path
        self._file = path.open("w")

    def committed(self, changes: Iterable[Known], *, for_good: bool = True) -> None:
        """Note changes whose commit was confirmed just now; a crash undoes what is not for good."""
        now = time.time()
        self.counts["commits"] += 1
        if not for_good:
            return
        self._file.writelines(f"{of} {id_} {version} {now:.6f}\n" for of, id_, version in changes)

    def close(self) -> None:
        """Leave it all."""
        self._file.close()
        self._path.with_suffix(".json").write_text(json.dumps(self.counts))


class Writer:
    """One writer: does one thing after another, and survives what happens to the server."""

    def __init__(self, task: Task, number: int, notes: Notes, stopping: asyncio.Event) -> None:
        """Take a part of the task."""
        self.task, self.notes, self.stopping = task, notes, stopping
        self.draw = random.Random(task.seed * 1000 + number)  # noqa: S311 - no secret

    async def rest(self, seconds: float) -> None:
        """Wait, if nothing stops it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()

    async def run(self) -> None:
        """Write until told to stop."""
        while not self.stopping.is_set():
            try:
                await self.write()
            except (*DATABASE_ERRORS, httpx.TransportError):
                # The server was killed, or refused: begin anew.
                self.notes.counts["failed"] += 1
                await self.recover()
                await self.rest(0.1)
            await self.rest(self.draw.expovariate(1 / self.task.pause))
        await self.end()

    async def write(self) -> None:
        """Do one thing."""
        raise NotImplementedError

    async def recover(self) -> None:
        """See that a failure leaves nothing behind."""

    async def end(self) -> None:
        """Let go of what is held."""


class SqlWriter(Writer):
    """Writes as psql would: on the tables, in transactions of every shape."""

    def __init__(self, task: Task, number: int, notes: Notes, stopping: asyncio.Event) -> None:
        """Connect later."""
        super().__init__(task, number, notes, stopping)
        self._connection: Connection = None
        self._own: list[tuple[str, str]] = []
        # One of each process mostly holds its transactions open; another does not wait for its
        # commits to be written: a crash takes some, and then nobody may have been told of them.
        held = 30 if number == 0 else 0.5
        self._waits = number != 1
        self._shapes: dict[Callable[[], Awaitable[None]], float] = {
            self._alone: 50,
            self._several: 25,
            self._with_savepoint: 8,
            self._taken_back: 7,
            self._many: 1,
            self._held: held,
        }

    async def write(self) -> None:
        """Run one transaction."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self.task.url,
                timeout=5,
                server_settings={
                    "lock_timeout": "2000",
                    "synchronous_commit": "on" if self._waits else "off",
                },
            )
        (shape,) = self.draw.choices([*self._shapes], [*self._shapes.values()])
        await shape()

    async def recover(self) -> None:
        """Disconnect, in the midst of a transaction as it may be."""
        await self.end()

    async def end(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.terminate()

    async def _alone(self) -> None:
        """Write one record in a statement that commits itself."""
        self._note(await self._change())

    async def _several(self) -> None:
        """Write several records, and take a while to commit."""
        await self._transaction(self.draw.randint(2, 8), self.draw.uniform(0, 0.3))

    async def _taken_back(self) -> None:
        """Write, and roll back."""
        await self._transaction(self.draw.randint(1, 5), self.draw.uniform(0, 0.1), keep=False)

    async def _many(self) -> None:
        """Write many records in one statement."""
        rows = await self._connection.fetch(_MANY, "many", self.draw.randint(20, 200))
        self._note(("claim", *row) for row in rows)

    async def _with_savepoint(self) -> None:
        """Write around a savepoint that is rolled back, and one that is not."""
        transaction = self._connection.transaction()
        await transaction.start()
        changes = await self._change()
        for keep in (False, True):
            savepoint = self._connection.transaction()
            await savepoint.start()
            written = await self._change()
            if keep:
                await savepoint.commit()
                changes += written
            else:
                await savepoint.rollback()
                self.notes.counts["savepoints rolled back"] += 1
        changes += await self._change()
        await self._commit(transaction, changes)

    async def _held(self) -> None:
        """Write, and keep the transaction open for seconds, writing on."""
        transaction = self._connection.transaction()
        await transaction.start()
        changes = await self._create()
        seconds = self.draw.uniform(*_HELD_SECONDS)
        await self.rest(seconds / 2)
        changes += await self._create()
        await self.rest(seconds / 2)
        await self._commit(transaction, changes)
        self.notes.counts["held open"] += 1

    async def _transaction(self, size: int, seconds: float, *, keep: bool = True) -> None:
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            changes = [change for _ in range(size) for change in await self._change()]
        except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
            keep, changes = False, []
        await self.rest(seconds)
        if keep:
            await self._commit(transaction, changes)
        else:
            await transaction.rollback()
            self.notes.counts["rollbacks"] += 1

    async def _commit(self, transaction: Any, changes: list[Known]) -> None:
        try:
            await transaction.commit()
        except BaseException:
            self.notes.counts["unknown"] += 1
            raise
        self._note(changes)

    def _note(self, changes: Iterable[Known]) -> None:
        self.notes.committed(changes, for_good=self._waits)

    async def _change(self) -> list[Known]:
        """Write a new record, or an own one, or one that others write too."""
        (write,) = self.draw.choices(
            [self._create, self._update, self._share, self._turn], [4, 3, 2, 1]
        )
        return await write()

    async def _create(self) -> list[Known]:
        of = self.draw.choice([*TABLES])
        id_ = str(uuid4())
        text = f"{of} of writer {self.task.seed}"
        row = await self._connection.fetchrow(
            f"{_INSERT[of]} RETURNING version", id_, text, f"{self.draw.random()}"
        )
        self._own = [*self._own[-_REMEMBERED:], (of, id_)]
        return [(of, id_, row[0])]

    async def _update(self) -> list[Known]:
        if not self._own:
            return await self._create()
        of, id_ = self.draw.choice(self._own)
        return await self._set(of, id_, f"note = '{self.draw.random()}'", _LIVE)

    async def _share(self) -> list[Known]:
        id_ = self.draw.choice(self.task.shared)
        confidentiality = self.draw.choice(["public", "internal", "restricted"])
        changed = f"note = '{self.draw.random()}', confidentiality = '{confidentiality}'"
        return await self._set("source", id_, changed, _LIVE)

    async def _turn(self) -> list[Known]:
        """Delete a record, or bring it back."""
        if not self._own:
            return await self._create()
        of, id_ = self.draw.choice(self._own)
        gone = "deleted_at = CASE WHEN deleted_at IS NULL THEN now() END"
        return await self._set(of, id_, gone, "true")

    async def _set(self, of: str, id_: str, assignments: str, where: str) -> list[Known]:
        row = await self._connection.fetchrow(
            f"UPDATE {TABLES[of]} SET {assignments} WHERE id = $1 AND {where} RETURNING version",
            id_,
        )
        return [] if row is None else [(of, id_, row[0])]


class ApiWriter(Writer):
    """Writes through the API; sends again, under the same key, what had no answer."""

    def __init__(self, task: Task, number: int, notes: Notes, stopping: asyncio.Event) -> None:
        """Open a client."""
        super().__init__(task, number, notes, stopping)
        headers = {"authorization": f"Bearer {task.key}"}
        self._client = httpx.AsyncClient(headers=headers, timeout=15)
        self._own: list[str] = []
        self._deleted: list[str] = []

    async def end(self) -> None:
        """Disconnect."""
        await self._client.aclose()

    async def write(self) -> None:
        """Send one request until it is answered."""
        (send,) = self.draw.choices(
            [self._create, self._patch, self._delete, self._restore, self._import], [8, 6, 2, 1, 1]
        )
        await send()

    async def _create(self) -> None:
        """Create a claim, once, however often that takes sending."""
        body = {"text": "Posted.", "note": POST_NOTE + uuid4().hex}
        response = await self._until_answered("/v1/claims", json=body)
        if response is not None and response.status_code == httpx.codes.CREATED:
            record = response.json()
            self._own = [*self._own[-_REMEMBERED:], record["id"]]
            self.notes.committed([("claim", record["id"], record["version"])])

    async def _import(self) -> None:
        """Import some lines, once."""
        lines = [
            {"type": self.draw.choice(["claim", "source"]), "data": {"note": f"line {n}"}}
            for n in range(self.draw.randint(5, 30))
        ]
        for line in lines:
            added = (
                {"text": "A line."} if line["type"] == "claim" else {"kind": "person", "name": "L"}
            )
            line["data"] |= added  # type: ignore[operator] # it is the dict above
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        response = await self._until_answered(
            "/v1/import", content=body, headers={"content-type": "application/x-ndjson"}
        )
        if response is not None and response.status_code == httpx.codes.OK:
            *told, _ = map(json.loads, response.text.splitlines())
            self.notes.committed(
                (line["type"], line["id"], line["version"]) for line in told if line["id"]
            )

    async def _patch(self) -> None:
        id_, etag = await self._any_of(self._own)
        if not etag:
            return
        response = await self._client.patch(
            self._at(f"/v1/claims/{id_}"),
            content=msgspec.json.encode(
                {"certainty": self.draw.choice(["probable", "unspecified"]), "tags": [uuid4().hex]}
            ),
            headers={"if-match": etag, "content-type": "application/merge-patch+json"},
        )
        if response.status_code == httpx.codes.OK:
            self.notes.committed([("claim", id_, response.json()["version"])])

    async def _delete(self) -> None:
        id_, etag = await self._any_of(self._own)
        if not etag:
            return
        response = await self._client.delete(
            self._at(f"/v1/claims/{id_}"), headers={"if-match": etag}
        )
        if response.status_code == httpx.codes.NO_CONTENT:
            self._own.remove(id_)
            self._deleted.append(id_)
            self.notes.counts["commits"] += 1  # of which version, the answer does not say

    async def _restore(self) -> None:
        if not self._deleted:
            return
        id_ = self.draw.choice(self._deleted)
        response = await self._until_answered(
            f"/v1/claims/{id_}/restore", headers={"if-match": "*"}
        )
        if response is not None and response.status_code == httpx.codes.OK:
            self._deleted.remove(id_)
            self._own.append(id_)
            self.notes.committed([("claim", id_, response.json()["version"])])

    async def _any_of(self, ids: list[str]) -> tuple[str, str]:
        """Choose a record, and ask for its ETag."""
        if not ids:
            return "", ""
        id_ = self.draw.choice(ids)
        response = await self._client.get(self._at(f"/v1/claims/{id_}"))
        return id_, response.headers.get("etag", "") if response.is_success else ""

    def _at(self, path: str) -> str:
        return self.draw.choice(self.task.addresses) + path

    async def _until_answered(
        self, path: str, headers: dict[str, str] | None = None, **body: Any
    ) -> httpx.Response | None:
        """Send a POST until it is answered, to whichever process; null if that is too late."""
        headers = {**(headers or {}), "idempotency-key": uuid4().hex}
        while True:
            with suppress(httpx.TransportError):
                response = await self._client.post(self._at(path), headers=headers, **body)
                self.notes.counts[f"answers {response.status_code}"] += 1
                if response.status_code < 500 and not _is_running(response):
                    if "idempotency-replayed" in response.headers:
                        self.notes.counts["replayed"] += 1
                    return response
            self.notes.counts["sent again"] += 1
            await self.rest(self.draw.uniform(0.05, 0.3))
            if self.stopping.is_set():
                self.notes.counts["unknown"] += 1
                return None


def _is_running(response: httpx.Response) -> bool:
    """Tell whether the same request, sent before, is still being worked on."""
    return response.status_code == httpx.codes.CONFLICT and "retry-after" in response.headers


async def _run(task: Task) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    notes = Notes(Path(task.notes))
    kind = SqlWriter if task.how == "sql" else ApiWriter
    async with asyncio.TaskGroup() as group:
        for number in range(task.writers):
            group.create_task(kind(task, number, notes, stopping).run())
    notes.close()


if __name__ == "__main__":
    bound.bind()
    asyncio.run(_run(msgspec.json.decode(sys.argv[1], type=Task)))
