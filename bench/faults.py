"""Break what the service depends on while clients write, and see what they notice and what is lost.

    python bench/faults.py [--only killed silent …] [--seconds 3]

Starts an embedded Postgres and the service with its default settings on loopback, and removes
everything. Four clients write records, one after another. The fault is made, lasts some seconds and
is mended; each record whose write was answered with 201 must be there afterwards. After a failover
the webhooks are resumed, and each receiver must have been told of each such record. `disk full`
mounts a small file system in memory, for which one has to be root. A fault takes a minute at most.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
import httpx

REPOSITORY: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from api.access import embargoes  # noqa: E402
from api.core import clocks  # noqa: E402
from api.embedded import EmbeddedPostgres  # noqa: E402
from api.server import schema  # noqa: E402
from tests.conftest import KEY, allow, bearer  # noqa: E402
from tests.conftest import serving as serving_here  # noqa: E402
from tests.network import Network, over  # noqa: E402
from tests.receiving import Receiver, receiving  # noqa: E402
from tests.test_cli import Service  # noqa: E402
from tests.test_cli import serving as serving_for_real  # noqa: E402
from tests.test_servers import primary_and_standby, promote, with_schema  # noqa: E402
from tests.test_supervision import server_pid  # noqa: E402

CLIENTS: Final = 4
PACE_SECONDS: Final = 0.02
WEBHOOKS: Final = 3
MAX_SECONDS: Final = 60.0
"""After this time without a write that succeeds, a fault counts as not mended."""
LATEST_SECONDS: Final = 8.0
"""When the writes that waited during a fault are answered: a statement's limit, and 2 s more."""
DEFAULTS: Final = {
    "CLAIM_RECORDS_ACQUIRE_SECONDS": "2",
    "CLAIM_RECORDS_STATEMENT_SECONDS": "5",
    "CLAIM_RECORDS_RATE_PER_MINUTE": "0",
}


class Answered(NamedTuple):
    """What became of a write."""

    at: float
    seconds: float
    status: int | str


class Writers:
    """Clients that write until they are told to stop, and note what they were answered."""

    def __init__(self, address: str, key: str, text_bytes: int) -> None:
        """Write articles whose texts have so many bytes."""
        self._client = httpx.AsyncClient(base_url=address, headers=bearer(key), timeout=30)
        self._text_bytes = text_bytes
        self.answers: list[Answered] = []
        self.ids: set[str] = set()

    async def _write(self) -> None:
        while True:
            text = secrets.token_hex(self._text_bytes // 2)
            began = time.monotonic()
            status: int | str
            try:
                answer = await self._client.post(
                    "/v1/articles", json={"headline": "x", "text": text}
                )
                status = answer.status_code
                if answer.is_success:
                    self.ids.add(answer.json()["id"])
            except httpx.HTTPError as error:
                status = type(error).__name__
            ended = time.monotonic()
            self.answers.append(Answered(ended, ended - began, status))
            await asyncio.sleep(PACE_SECONDS)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write while the block runs."""
        tasks = [asyncio.create_task(self._write()) for _ in range(CLIENTS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def success_after(self, at: float) -> float:
        """Wait for a write that began after a moment and succeeds; give the seconds until then."""
        async with asyncio.timeout(MAX_SECONDS):
            while True:
                for each in self.answers:
                    if each.status == 201 and each.at - each.seconds > at:
                        return each.at - at
                await asyncio.sleep(0.01)

    async def failure(self) -> None:
        """Wait for a write that does not succeed."""
        async with asyncio.timeout(MAX_SECONDS):
            while all(each.status == 201 for each in self.answers):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.05)

    async def lost(self) -> int:
        """Count the records that were answered with 201 and are not there."""
        found = set()
        async with self._client.stream("GET", "/v1/export?types=article") as answer:
            async for line in answer.aiter_lines():
                found.add(json.loads(line).get("id"))
        return len(self.ids - found)


Step = Callable[[], Awaitable[None] | None]


async def _watch(name: str, writers: Writers, break_it: Step, seconds: float, mend: Step) -> None:
    async with writers.writing():
        await writers.success_after(time.monotonic())
        await asyncio.sleep(1)
        broken_at = time.monotonic()
        await _take(break_it)
        await asyncio.sleep(seconds)
        mended_at = time.monotonic()
        await _take(mend)
        async with writers.writing():  # the others may still wait for an answer
            took = await writers.success_after(mended_at)
        await asyncio.sleep(LATEST_SECONDS)
    meanwhile = [each for each in writers.answers if each.at > broken_at]
    statuses = dict(Counter(each.status for each in meanwhile))
    longest = max(each.seconds for each in meanwhile)
    print(
        f"{name}: answers {statuses}, the longest after {longest:.2f} s;"
        f" written again {took:.2f} s after it was mended;"
        f" lost {await writers.lost()} of {len(writers.ids)}",
        flush=True,
    )


async def _take(step: Step) -> None:
    made = step()
    if made is not None:
        await made


def _nothing() -> None:
    """Mend nothing: the service has to do it."""


# --- the faults ------------------------------------------------------------------------------


@asynccontextmanager
async def _service(directory: Path, *arguments: str, **settings: str) -> AsyncIterator[Service]:
    running = serving_for_real(directory, *arguments, **DEFAULTS, **settings)
    service = await asyncio.to_thread(running.__enter__)
    try:
        yield service
        await asyncio.to_thread(service.stop)
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def _killed(directory: Path, _: float) -> None:
    data = directory / "data"
    async with _service(directory, "--data-dir", str(data)) as service:
        writers = Writers(service.address, service.key(), 1_000)

        def kill() -> None:
            if pid := server_pid(data):
                os.kill(pid, signal.SIGKILL)
            else:
                sys.exit("The embedded Postgres is not found.")

        await _watch("the embedded Postgres killed", writers, kill, 0, _nothing)


async def _disk_full(directory: Path, seconds: float) -> None:
    with _small_disk(directory / "disk") as disk:
        data = disk / "data"
        async with _service(directory, "--data-dir", str(data)) as service:
            writers = Writers(service.address, service.key(), 200_000)
            filler = disk / "filler"

            def fill() -> Awaitable[None]:
                with filler.open("wb", buffering=0) as file, suppress(OSError):
                    while True:
                        file.write(bytes(65_536))
                return writers.failure()

            await _watch("the disk full", writers, fill, seconds, filler.unlink)


@contextmanager
def _small_disk(directory: Path) -> Iterator[Path]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


async def _silent(directory: Path, seconds: float, *, for_good: bool) -> None:
    async with AsyncExitStack() as stack:
        url = await _migrated(directory, stack)
        network = await stack.enter_async_context(Network(url).open())
        service = await stack.enter_async_context(
            _service(directory, DATABASE_URL=over(url, [network]))
        )
        writers = Writers(service.address, KEY, 1_000)
        name = "the network silent, its connections for good" if for_good else "the network silent"

        def heal() -> None:
            network.heal(forget=for_good)

        await _watch(name, writers, network.fall_silent, seconds, heal)


async def _first_host_silent(directory: Path, _: float) -> None:
    async with AsyncExitStack() as stack:
        url = await _migrated(directory, stack)
        networks = [await stack.enter_async_context(Network(url).open()) for _ in range(2)]
        networks[0].fall_silent()
        began = time.monotonic()
        service = await stack.enter_async_context(
            _service(directory, DATABASE_URL=over(url, networks))
        )
        listening_at = time.monotonic()
        writers = Writers(service.address, KEY, 1_000)
        async with writers.writing():
            await writers.success_after(began)
        print(
            f"the first of two hosts silent at the start: the service listened after"
            f" {listening_at - began:.2f} s, and wrote {writers.answers[0].seconds:.2f} s later;"
            f" answers {dict(Counter(each.status for each in writers.answers))}",
            flush=True,
        )
        networks[0].heal()


async def _host_falls_silent(directory: Path, _: float) -> None:
    async with AsyncExitStack() as stack:
        url = await _migrated(directory, stack)
        networks = [await stack.enter_async_context(Network(url).open()) for _ in range(2)]
        service = await stack.enter_async_context(
            _service(directory, DATABASE_URL=over(url, networks))
        )
        writers = Writers(service.address, KEY, 1_000)
        name = "the first of two hosts falls silent"
        await _watch(name, writers, networks[0].fall_silent, 0, _nothing)
        networks[0].heal()


async def _failover(directory: Path, _: float) -> None:
    """Let the primary fall silent, promote its standby, and resume the webhooks."""
    async with AsyncExitStack() as stack:
        primary, standby = stack.enter_context(primary_and_standby(_closed(directory)))
        await with_schema(primary)
        await allow(primary)
        # What was answered with 201 is on the standby, too.
        await _execute(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        await _execute(primary, "SELECT pg_reload_conf()")
        networks = [
            await stack.enter_async_context(Network(url).open()) for url in (primary, standby)
        ]
        service = await stack.enter_async_context(
            _service(directory, DATABASE_URL=over(primary, networks))
        )
        receivers = [await stack.enter_async_context(receiving()) for _ in range(WEBHOOKS)]
        writers = Writers(service.address, KEY, 1_000)
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=service.address, headers=bearer(KEY), timeout=30)
        )
        for each in receivers:
            (await client.post("/v1/webhooks", json={"url": each.url})).raise_for_status()

        async def fail_over() -> None:
            networks[0].fall_silent()
            await promote(standby)

        await _watch("the primary silent, its standby promoted", writers, fail_over, 0, _nothing)
        paused = await _until_paused(client)
        began = time.monotonic()
        resumed = (await client.post("/v1/webhooks/resume")).json()
        async with asyncio.timeout(MAX_SECONDS):
            while missing := _missing(writers, receivers):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.05)
        print(
            f"failover with webhooks: {paused} paused, resumed by one request: {resumed};"
            f" each receiver had all {len(writers.ids)} records {time.monotonic() - began:.2f} s"
            f" later, {missing} lost",
            flush=True,
        )
        networks[0].heal()


def _closed(directory: Path) -> Path:
    """Give a directory for servers: under root, they make none of their own below a closed one."""
    directory.chmod(0o700)
    (servers := directory / "servers").mkdir()
    return servers


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _until_paused(client: httpx.AsyncClient) -> int:
    """Wait until no webhook goes on in the feed that has ended; give how many are paused."""
    async with asyncio.timeout(MAX_SECONDS):
        while True:
            webhooks = (await client.get("/v1/webhooks")).json()["items"]
            paused = [each["paused_reason"] for each in webhooks].count("resync_required")
            if paused == WEBHOOKS:
                return paused
            await asyncio.sleep(0.05)


def _missing(writers: Writers, receivers: Sequence[Receiver]) -> int:
    """Count the records that a receiver was not told of."""
    return sum(len(writers.ids - {got.told[1] for got in each.got}) for each in receivers)


async def _clock(directory: Path, _: float, *, ahead: bool) -> None:
    """Shift the service's clock against that of Postgres: only the difference counts."""
    day = timedelta(days=1)
    offset = -day if ahead else day
    ends = datetime.now(UTC) + offset / 2  # between the two clocks
    async with AsyncExitStack() as stack:
        server = stack.enter_context(EmbeddedPostgres(directory / "postgres"))
        await with_schema(server.url())
        before, clocks.utc_now = clocks.utc_now, lambda: datetime.now(UTC) + offset
        stack.callback(setattr, clocks, "utc_now", before)
        client = await stack.enter_async_context(serving_here(server.url()))
        await asyncio.sleep(2 * embargoes.EVERY_SECONDS)  # the service has told Postgres its clock
        body = {"text": "x", "review_status": "published", "embargoed_until": ends.isoformat()}
        made = await client.post("/v1/claims", json=body)
        again = await client.patch(
            made.headers["location"],
            json={"text": "x"},
            headers={
                "content-type": "application/merge-patch+json",
                "if-match": made.headers["etag"],
            },
        )
        await asyncio.sleep(5 * embargoes.EVERY_SECONDS)
        async with httpx.AsyncClient(transport=client._transport, base_url="http://x") as nobody:  # noqa: SLF001 - the same application
            nobody.headers["host"] = "127.0.0.1"
            seen = (await nobody.get(made.headers["location"])).status_code
        print(
            f"Postgres' clock a day {'ahead' if ahead else 'behind'}: a claim whose embargo ends"
            f" between the two clocks is {seen} without a key, 5 sweeps later; an unchanged write"
            f" was {again.status_code}, version {again.json()['version']} after"
            f" {made.json()['version']}",
            flush=True,
        )


async def _migrated(directory: Path, stack: AsyncExitStack) -> str:
    server = stack.enter_context(EmbeddedPostgres(directory / "postgres"))
    await schema.migrate(server.url())
    await allow(server.url())
    return server.url()


async def _silent_for_a_while(directory: Path, seconds: float) -> None:
    await _silent(directory, seconds, for_good=False)


async def _silent_for_good(directory: Path, seconds: float) -> None:
    await _silent(directory, seconds, for_good=True)


async def _clock_ahead(directory: Path, seconds: float) -> None:
    await _clock(directory, seconds, ahead=True)


async def _clock_behind(directory: Path, seconds: float) -> None:
    await _clock(directory, seconds, ahead=False)


FAULTS: Final = {
    "killed": _killed,
    "disk-full": _disk_full,
    "silent": _silent_for_a_while,
    "silent-for-good": _silent_for_good,
    "first-host-silent": _first_host_silent,
    "host-falls-silent": _host_falls_silent,
    "failover": _failover,
    "clock-ahead": _clock_ahead,
    "clock-behind": _clock_behind,
}


def main() -> None:
    """Make each fault, and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--seconds", type=float, default=3, help="how long a fault lasts")
    options = parser.parse_args()
    for name in options.only:
        with tempfile.TemporaryDirectory(prefix="claim-bench-") as directory:
            Path(directory).chmod(0o755)
            try:
                asyncio.run(FAULTS[name](Path(directory), options.seconds))
            except TimeoutError:
                print(f"{name}: not served again within {MAX_SECONDS:.0f} s", flush=True)


if __name__ == "__main__":
    main()
