"""The soak itself: who writes, who reads, what is killed when, and what came of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
import httpx
import msgspec

from schemas.vocabularies import RecordType
from tests.conftest import KEY
from tests.soak import judgement, readers, writers
from tests.soak.ground import PUBLIC_KEY, Child, Ground, limited, until
from tests.soak.judgement import Change, Copied, Difference, Truth, Verdict

ALL_TYPES: Final = ",".join(RecordType)


class Reading(NamedTuple):
    """What a reader of the feed does."""

    how: str
    types: str = ALL_TYPES
    public: bool = False  # sees only what everybody may see


READERS: Final = {
    "poll": Reading(readers.POLL),
    "long poll": Reading(readers.LONG_POLL),
    "stream": Reading(readers.STREAM),
    "stream of two types": Reading(readers.STREAM, "claim,denial"),
    "stream of the public": Reading(readers.STREAM, public=True),
}
CONTROLS: Final = (readers.BY_NUMBER, readers.BY_TIME)
LEAST_COPIES: Final = 3
"""How many copies are made while others write, however long that takes."""
_SPARE_SECONDS: Final = 1_200
"""How much longer than its work a soak may take, to start, to finish, and to judge."""
_FINISH_SECONDS: Final = 300
_QUIET: Final = """
    SELECT NOT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND backend_xid IS NOT NULL
            AND query NOT LIKE '%sequence_feed%'
    ) AND (SELECT count(*) FROM outbox) = (SELECT count(*) FROM feed)"""
_CUT: Final = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE '%sequence_feed%' AND random() < 0.5
        AND pid <> pg_backend_pid()"""


class Plan(NamedTuple):
    """How long, and how hard."""

    seconds: float = 60
    crashes: int = 3
    sql_processes: int = 4
    api_processes: int = 1
    writers: int = 4  # in each of these
    pause: float = 0.04  # seconds between two transactions of a writer, on average
    seed: int = 1


class Report(NamedTuple):
    """What happened, and what came of it."""

    counts: dict[str, int]
    verdicts: dict[str, Verdict]
    controls: dict[str, Verdict]
    copies: dict[str, Difference]
    faults: list[str]
    """Everything that must not be."""
    logs: str
    """The ends of what the services said."""

    def table(self) -> str:
        """Write it for people to read."""
        rows = [
            [
                "reader",
                "changes",
                "missed",
                "doubled",
                "out of order",
                "invented",
                "p50 ms",
                "p99 ms",
            ],
            *(
                [name, *map(str, verdict[:5]), f"{verdict.p50:.0f}", f"{verdict.p99:.0f}"]
                for name, verdict in [*self.verdicts.items(), *self.controls.items()]
            ),
            [],
            ["copy", "records", "missing", "ghosts", "stale"],
            *([name, *map(str, difference)] for name, difference in self.copies.items()),
        ]
        happened = ", ".join(f"{count:,} {what}" for what, count in self.counts.items())
        aligned = (
            "  ".join(f"{cell:>12}" if n else f"{cell:20}" for n, cell in enumerate(row))
            for row in rows
        )
        faults = [f"FAULT: {fault}" for fault in self.faults]
        return "\n".join([happened, "", *aligned, "", *faults, *([self.logs] if faults else [])])


class Mirror:
    """A mirror, which is killed and started again."""

    def __init__(self, ground: Ground, name: str, target: str, draw: random.Random) -> None:
        """Start it."""
        self._ground, self.name, self._target, self._draw = ground, name, target, draw
        self._child = self._start()

    def _start(self, *options: str) -> Child:
        address = self._ground.addresses[0]  # a copy belongs to one address
        return self._ground.mirror(self.name, self._target, address, *options)

    def see(self) -> None:
        """Start it again if it gave up, as it does where its own copy is away."""
        try:
            self._child.see()
        except RuntimeError:
            self._ground.drop(self._child)
            self._child = self._start()

    def kill(self) -> None:
        """Kill it with -9, and let it go on."""
        self._ground.drop(self._child)
        self._ground.mirrors_killed += 1
        self._child = self._start()

    def finish(self) -> None:
        """Kill it a last time, and let it catch up."""
        self._ground.drop(self._child)
        self._child = self._start("--once")
        self._child.wait(_FINISH_SECONDS)


def run(plan: Plan) -> Report:
    """Soak; raise only where the soak itself does not work."""
    with limited(plan.seconds + _SPARE_SECONDS), Ground.laid() as ground:
        draw = random.Random(plan.seed)  # noqa: S311 - no secret
        copies = {"mirror to a file": str(ground.directory / "copy.sqlite")}
        copies["mirror to Postgres"] = ground.copy
        mirrors = [Mirror(ground, name, target, draw) for name, target in copies.items()]
        reading = _start_readers(ground, plan)
        writing = start_writers(ground, plan)
        began = time.monotonic()
        _disturb(ground, plan, mirrors, [*reading, *writing], draw)
        stop_writers(ground, writing)
        lasted = time.monotonic() - began
        _finish(reading)
        for mirror in mirrors:
            mirror.finish()
        return asyncio.run(_judge(ground, lasted))


# --- who takes part ------------------------------------------------------------------------------


def start_writers(ground: Ground, plan: Plan) -> list[Child]:
    """Start the writers' processes."""
    kinds = ["sql"] * plan.sql_processes + ["api"] * plan.api_processes
    return [
        ground.told(
            f"writers {number}",
            "writers",
            writers.Task(
                kind,
                plan.writers,
                ground.url,
                ground.addresses,
                KEY,
                ground.shared,
                plan.pause,
                plan.seed * 100 + number,
                str(ground.notes(f"writers {number}")),
            ),
        )
        for number, kind in enumerate(kinds)
    ]


def stop_writers(ground: Ground, writing: list[Child]) -> None:
    """Stop the writers, and wait until the last of their changes has its number."""
    _finish(writing)

    async def quiet() -> bool:
        connection = await asyncpg.connect(ground.owner)
        try:
            return bool(await connection.fetchval(_QUIET))
        finally:
            await connection.close()

    # A service that was killed may have left a statement that is still running.
    until(lambda: asyncio.run(quiet()), _FINISH_SECONDS)


def _start_readers(ground: Ground, plan: Plan) -> list[Child]:
    """Start those that read the feed, and those that read the outbox."""
    ways = {**READERS, **{name: Reading(name) for name in CONTROLS}}
    return [
        ground.told(
            name,
            "readers",
            readers.Task(
                reading.how,
                ground.url,
                ground.addresses,
                PUBLIC_KEY if reading.public else KEY,
                reading.types,
                plan.seed,
                str(ground.notes(name)),
            ),
        )
        for name, reading in ways.items()
    ]


def _finish(children: Iterable[Child]) -> None:
    for child in children:
        child.tell()
    for child in children:
        child.wait(_FINISH_SECONDS)


# --- what happens to them ------------------------------------------------------------------------


def _disturb(
    ground: Ground, plan: Plan, mirrors: list[Mirror], others: list[Child], draw: random.Random
) -> None:
    """Kill what is to be killed, each at its time, and see that nobody else ends."""
    began = time.monotonic()
    for at, disturb in _program(ground, plan, mirrors, draw):
        while (left := began + at - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        disturb()
        for child in [*ground.services, *others]:
            child.see()
        for mirror in mirrors:
            mirror.see()


def _program(
    ground: Ground, plan: Plan, mirrors: list[Mirror], draw: random.Random
) -> list[tuple[float, Callable[[], object]]]:
    """Write down what is killed when, in seconds from the beginning."""
    part = plan.seconds / (plan.crashes + 1)
    program: list[tuple[float, Callable[[], object]]] = [
        (part * (n + draw.uniform(0.8, 1.2)), ground.crash) for n in range(1, plan.crashes + 1)
    ]
    program += [(at, lambda: ground.kill_worker(draw)) for at in _times(plan.seconds, (3, 7), draw)]
    program += [
        (at, mirror.kill) for mirror in mirrors for at in _times(plan.seconds, (3, 9), draw)
    ]
    program += [(at, lambda: _cut(ground)) for at in _times(plan.seconds, (1, 3), draw)]
    return [*sorted(program, key=lambda due: due[0]), (plan.seconds, lambda: None)]


def _times(seconds: float, apart: tuple[float, float], draw: random.Random) -> Iterator[float]:
    """Draw moments, some seconds from each other."""
    at = draw.uniform(*apart)
    while at < seconds:
        yield at
        at += draw.uniform(*apart)


def _cut(ground: Ground) -> None:
    """End some of the sessions that number the feed."""

    async def cut() -> None:
        connection = await asyncpg.connect(ground.owner)
        try:
            ground.sequencers_cut += await connection.fetchval(_CUT)
        finally:
            await connection.close()

    asyncio.run(cut())


# --- what came of it -----------------------------------------------------------------------------


async def _judge(ground: Ground, seconds: float) -> Report:
    files = sorted(ground.directory.glob("writers-*.notes"))
    committed = judgement.known(files)
    there = await judgement.truth(ground.owner, committed)
    verdicts = {
        name: judgement.judged(ground.notes(name), _for(reading, there), committed)
        for name, reading in READERS.items()
    }
    controls = {
        name: judgement.judged(ground.notes(name), there.outbox, committed) for name in CONTROLS
    }
    copies = {
        "mirror to a file": judgement.in_file(ground.directory / "copy.sqlite"),
        "mirror to Postgres": await judgement.in_database(ground.copy),
    }
    differences = {name: judgement.compared(copy, there.live) for name, copy in copies.items()}
    counts = {
        "changes": len(there.feed),
        "changes a second": round(len(there.feed) / seconds),
        **judgement.counted(file.with_suffix(".json") for file in files),
        "crashes of Postgres": ground.crashes,
        "service processes killed": ground.workers_killed,
        "sequencers cut off": ground.sequencers_cut,
        "mirrors killed": ground.mirrors_killed,
    }
    faults = [
        *there.faults,
        *(f"{name}: {told}" for name, told in verdicts.items() if not told.fine),
        *(f"{name}: {found}" for name, found in differences.items() if not found.none),
    ]
    if not any(control.missed for control in controls.values()):
        faults.append("the controls lost nothing, so this soak can't see losses")
    if counts.get("answers 500"):
        faults.append("the service answered 500")
    logs = "\n".join(f"--- {service.name}\n{service.said()}" for service in ground.services)
    return Report(counts, verdicts, controls, differences, faults, logs)


def _for(reading: Reading, there: Truth) -> list[Change]:
    """Give what a reader should have been told."""
    changes = there.public if reading.public else there.feed
    return [change for change in changes if change.type in reading.types.split(",")]


# --- bootstrap -----------------------------------------------------------------------------------


class _Line(msgspec.Struct):
    cursor: str = ""
    type: str = ""
    id: str = ""
    version: int = 0
    data: msgspec.Raw = msgspec.Raw()


class _Change(msgspec.Struct):
    type: str
    id: str
    version: int
    record: msgspec.Raw


class _Page(msgspec.Struct):
    items: list[_Change]
    next_cursor: str
    up_to_date: bool


class Bootstrapped:
    """A copy as any client could make it: the export, then the feed from the export's cursor."""

    def __init__(self, client: httpx.Client) -> None:
        """Take the export."""
        self._client = client
        self._records: dict[tuple[str, str], tuple[int, str | None]] = {}
        lines = client.get("/v1/export").raise_for_status().content.splitlines()
        first, *others, _ = (msgspec.json.decode(line, type=_Line) for line in lines)
        self._cursor = first.cursor
        for line in others:
            self._apply(line.type, line.id, line.version, line.data)

    def follow(self) -> None:
        """Apply the changes that there are by now."""
        up_to_date = False
        while not up_to_date:
            answer = self._client.get("/v1/changes", params={"since": self._cursor})
            page = msgspec.json.decode(answer.raise_for_status().content, type=_Page)
            for change in page.items:
                self._apply(change.type, change.id, change.version, change.record)
            self._cursor, up_to_date = page.next_cursor, page.up_to_date

    def _apply(self, of: str, id_: str, version: int, record: msgspec.Raw) -> None:
        """Keep a record, or that it is gone, if that is newer than what is known."""
        before, _ = self._records.get((of, id_), (0, None))
        if version > before:
            text = bytes(record).decode()
            self._records[of, id_] = version, None if text == "null" else text

    @property
    def live(self) -> Copied:
        """The records."""
        return {
            (*key, version, doc) for key, (version, doc) in self._records.items() if doc is not None
        }


def bootstrap(plan: Plan) -> list[Difference]:
    """Make copies while writers run; compare them when all is written."""
    with limited(plan.seconds + _SPARE_SECONDS), Ground.laid(processes=1) as ground:
        writing = start_writers(ground, plan)
        until_ = time.monotonic() + plan.seconds
        copies: list[Bootstrapped] = []
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=ground.addresses[0], headers=headers, timeout=120) as client:
            while time.monotonic() < until_ or len(copies) < LEAST_COPIES:
                copies.append(Bootstrapped(client))
                copies[0].follow()
            stop_writers(ground, writing)
            for copy in copies:
                copy.follow()
        files = (Path(child.log).with_suffix(".notes") for child in writing)
        there = asyncio.run(judgement.truth(ground.owner, judgement.known(files)))
        assert not there.faults
        return [judgement.compared(copy.live, there.live) for copy in copies]
