"""Measure the questions of a newsroom: the time and the processor time that each of them takes.

    python bench/questions.py [--claims 100000] [--data D] [--tries 15] [--seconds 3] [--only WORDS]

Starts an embedded Postgres and the service on loopback, and removes everything, unless `--data`
names a directory that keeps the records for the next run. The questions are those of
`docs/questions.md`, asked of invented records (`newsroom.py`). One client asks, on one connection
and without a key, and nobody else does, so that a question has one core of Postgres. Each question
is asked until the tries or the seconds are over.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import asyncpg  # noqa: E402
import newsroom  # noqa: E402 - beside this file
import records  # noqa: E402
from servers import Server, free_port, running  # noqa: E402

from api.embedded import EmbeddedPostgres  # noqa: E402
from api.embedded.access import locate  # noqa: E402
from api.server import schema  # noqa: E402

SOURCE: Final = newsroom.source_id(123)
STATE: Final = newsroom.source_id(120)
ARTICLE: Final = records.record_id(2, 77)
CLAIM: Final = newsroom.claim_id(5_000)
DENIAL: Final = records.record_id(4, 500)
KEPT: Final = 10_000
"""So many claims are kept by the tag that stands in the place of `{kept}`."""

QUESTIONS: Final = (
    ("who said it, from whom, where", f"claims?id__in={CLAIM}&expand=sources,articles"),
    ("an article's claims, in reading order", f"claims?article_id={ARTICLE}&sort=position"),
    ("nobody stands behind it", "claims?credited=false"),
    ("quotations that are lost", f"articles/{ARTICLE}/anchors?anchor=orphaned"),
    ("independent origins of a claim", f"claims/{CLAIM}/origins"),
    ("origins of a set, states together", "origins?tag=topic-7&rollup=parent"),
    ("figures side by side", "figures?metric=killed&tag={kept}&sort=-lower"),
    ("a figure that could be 2,000", "claims?metric=killed&quantity_from=2000&quantity_to=2000"),
    ("figures that contradict this one", f"figures?id__in={CLAIM}&expand=claims"),
    ("ratings of an assessor", "claims?assessor=Checker+7&assessment_label=false"),
    ("was it denied, by whom", f"claims/{CLAIM}/responses?expand=sources,denials"),
    ("denials taken back", "denials?family=denies&validity__in=retracted&expand=denials"),
    (
        "what a statement leaves out",
        f"denials?kind=omission&scope_source_id={SOURCE}&expand=claims",
    ),
    ("claims of a state, also in a group", f"claims?source_id={STATE}"),
    ("accusations, on whose word", "claims?kind=accusation&expand=sources"),
    ("accusations without an answer", "claims?kind=accusation&responded=false"),
    ("word for word", f"claims?quote_type=direct&claimant_id={SOURCE}"),
    (
        "who is cited most, how answered",
        "claims/groups?by=claimant_id&by=response_family&tag={kept}",
    ),
    ("one paper in a week", f"claims?publisher_id={SOURCE}&published__gte=2021-01-01"),
    ("in this area", "claims?bbox=34,40,40,43&place_role=event"),
)
"""Each question of the page in short, with the request."""

MORE: Final = (
    ("claims in an article", f"claims?article_id={ARTICLE}"),
    ("claims in a paper", f"claims?publisher_id={SOURCE}"),
    *(
        (f"groups by {by}", f"claims/groups?by={by}&tag={{kept}}")
        for by in ("kind", "tag", "origin_id", "source_id", "publisher_id", "article_id", "metric")
    ),
    ("groups by day", "claims/groups?by=stated:day&tag={kept}"),
    (
        "groups by 5",
        "claims/groups?by=kind&by=claimant_id&by=tag&by=metric&by=stated:month&tag={kept}",
    ),
    ("groups by kind, of all", "claims/groups?by=kind"),
    ("groups by claimant, of all", "claims/groups?by=claimant_id"),
)


class Asked(NamedTuple):
    """A question that was asked."""

    status: int
    size: int
    milliseconds: float  # the median
    service: float  # processor time for a request, in milliseconds
    postgres: float


def main() -> None:
    """Fill a database, serve it, ask, and print a table."""
    options = _options()
    started = time.monotonic()
    with ExitStack() as stack:
        directory = options.data or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="claim-bench-"))
        )
        server = stack.enter_context(EmbeddedPostgres(directory, fsync=False))
        asyncio.run(_fill(server.url(), options.claims))
        postgres = int((locate(server.data_dir) / "postmaster.pid").read_text().split()[0])
        print(f"{options.claims:,} claims, after {time.monotonic() - started:.0f} s")
        environment = {
            "DATABASE_URL": server.url(),
            "CLAIM_RECORDS_PORT": str(port := free_port()),
            "CLAIM_RECORDS_LOG_LEVEL": "warning",
            "CLAIM_RECORDS_RATE_PER_MINUTE": "0",
            "CLAIM_RECORDS_POOL_SIZE": "2",
            "PYTHONPATH": str(HERE.parent),
        }
        command = [sys.executable, "-m", "api.cli", "serve"]
        service = stack.enter_context(running(command, environment, port))
        print(f"{'':40} status     bytes     p50 ms   cpu: service  postgres")
        for title, path in _paths(options.claims):
            if options.only not in title:
                continue
            asked = _ask(service, postgres, path, options.tries, options.seconds)
            print(
                f"{title:40} {asked.status:6} {asked.size:9,} {asked.milliseconds:10.1f}"
                f" {asked.service:14.1f} {asked.postgres:9.1f}",
                flush=True,
            )
    print(f"The run took {time.monotonic() - started:.0f} s.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, default=100_000, help="100,000, or ten times as many")
    parser.add_argument("--data", type=Path, help="a directory that keeps the records")
    parser.add_argument("--tries", type=int, default=15, help="of each question at most")
    parser.add_argument("--seconds", type=float, default=3, help="for each question at most")
    parser.add_argument("--only", default="", help="the questions whose names have these words")
    return parser.parse_args()


def _paths(claims: int) -> Iterator[tuple[str, str]]:
    tag = next(tag for tag, share in newsroom.SHARES.items() if claims // share <= KEPT)
    for title, path in (*QUESTIONS, *MORE):
        yield title, f"/v1/{path.replace('{kept}', tag)}"


async def _fill(url: str, claims: int) -> None:
    """Make the schema and the records, unless they are there."""
    await schema.migrate(url)
    await newsroom.load(url, claims, print)
    connection = await asyncpg.connect(url, command_timeout=600)
    try:
        await connection.execute("SELECT sequence_feed(true)")  # or else the service would begin so
    finally:
        await connection.close()


def _spent(service: int, postmaster: int) -> tuple[float, float]:
    """Give the processor time of the service and of Postgres, in seconds (proc(5), stat)."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
    return _processor_time([service]), _processor_time([postmaster, *map(int, children.split())])


def _processor_time(pids: Sequence[int]) -> float:
    ticks = 0
    for pid in pids:
        with suppress(FileNotFoundError):
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            ticks += int(stat[11]) + int(stat[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _ask(service: Server, postgres: int, path: str, tries: int, seconds: float) -> Asked:
    """Ask one question again and again, once before the measurement."""
    connection = http.client.HTTPConnection(urlsplit(service.address).netloc, timeout=60)
    times: list[float] = []
    spent: Sequence[float] = [0.0, 0.0]
    until = time.monotonic() + seconds
    for number in range(tries + 1):
        before = _spent(service.pid, postgres)
        started = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read()
        took = time.perf_counter() - started
        if number > 0 or took > seconds:
            times.append(took)
            after = _spent(service.pid, postgres)
            spent = [
                sum(each) for each in zip(spent, after, (-each for each in before), strict=True)
            ]
        if time.monotonic() > until and times:
            break
    connection.close()
    costs = (each * 1000 / len(times) for each in spent)
    return Asked(answer.status, len(content), statistics.median(times) * 1000, *costs)


if __name__ == "__main__":
    main()
