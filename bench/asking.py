"""Ask one side as fast as it answers: write its requests, run wrk or the loop, read the counts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import machine  # beside this file
import records  # likewise
from report import Measured  # likewise
from servers import DATABASE_CONNECTIONS, Server  # likewise
from workloads import JSON, LOOP, NDJSON, Case, Side  # likewise

HERE: Final = Path(__file__).parent
LINE_END: Final = "\x1f"
"""Stands for the line ends of a body, since each request is a line."""
LONGER: Final = (1, 4, 16)
"""By how much a round is lengthened, as long as nothing is answered."""
_ONCE: Final = "PATCH"
"""A request of this method can be sent once: the version that it names is gone then."""

Draw = Mapping[str, str]
"""What stands for the names in braces of a side's path."""


class Ground(NamedTuple):
    """What the measurements stand on."""

    directory: Path  # for what is written on the way
    url: str  # of the database
    key: str  # of our service, for what it lets nobody do without one
    postmaster: int


def write_requests(ground: Ground, case: Case, side: Side, draws: Iterable[Draw]) -> None:
    """Write the requests of a side, or the arguments of the loop's statement, one in each line."""
    lines = []
    for draw in draws:
        for body in side.bodies or case.bodies:
            in_one_line = body.replace("\n", LINE_END)
            given = {**draw, "body": in_one_line}
            fields = [side.match.format(**given)]
            if side.server != LOOP:
                fields = [case.method, side.path.format(**given), *fields, in_one_line]
            lines.append("\t".join(fields))
    requests_file(ground, case, side).write_text("\n".join(lines) + "\n")


def measure(
    ground: Ground, case: Case, side: Side, server: Server | None, seconds: int
) -> Measured:
    """Ask for some seconds, or longer if nothing was answered; stop everything on a failure."""
    for longer in LONGER:
        told, mine, postgres = _timed(ground, case, side, server, seconds * longer)
        if told["failed"]:
            sys.exit(f"{case.name}, {side.name}: {told['failed']} requests failed.")
        if told["requests"]:
            requests = told["requests"]
            if case.connections == 1:  # the end cut one off, and a round has few of them
                requests = told["microseconds"] / told["mean"]
            rate = requests / told["microseconds"] * 1e6
            spent = (processor * 1e6 / requests for processor in (mine, postgres))
            return Measured(rate, told["p50"] / 1000, told["p99"] / 1000, *spent)
    sys.exit(f"{case.name}, {side.name}: nothing was answered in {seconds * LONGER[-1]} s.")


def _timed(
    ground: Ground, case: Case, side: Side, server: Server | None, seconds: int
) -> tuple[dict[str, Any], float, float]:
    """Give what the program told, and the processor seconds of the server and of Postgres."""
    command = (
        _wrk(ground, case, side, server, seconds) if server else _loop(ground, case, side, seconds)
    )
    pids = machine.family(server.pid) if server else []
    before = machine.processor_seconds(pids), _postgres(ground)
    done = subprocess.run(
        command,
        check=True, capture_output=True, text=True, timeout=seconds + 60,
        env={**os.environ, "DATABASE_URL": ground.url, "POOL": str(DATABASE_CONNECTIONS)},
    )  # fmt: skip
    after = machine.processor_seconds(pids), _postgres(ground)
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return told, told.get("cpu", after[0] - before[0]), after[1] - before[1]


def _postgres(ground: Ground) -> float:
    return machine.processor_seconds(machine.family(ground.postmaster))


def _wrk(ground: Ground, case: Case, side: Side, server: Server, seconds: int) -> list[str]:
    """Write the command that asks a server."""
    command = ["wrk", "-t1", f"-c{case.connections}", f"-d{seconds}s", "--timeout", "60s"]
    for name, value in _authorization(ground, case, side).items():
        command += ["-H", f"{name}: {value}"]
    given = [str(requests_file(ground, case, side)), *_manner(case), side.accept]
    if case.method != "GET":
        given += [side.media_type, side.prefer]
    return [*command, "-s", str(HERE / "wrk.lua"), server.address, "--", *given]


def _loop(ground: Ground, case: Case, side: Side, seconds: int) -> list[str]:
    """Write the command that asks Postgres itself."""
    program, arguments = str(HERE / "peers" / "loop.py"), str(requests_file(ground, case, side))
    numbers = [str(case.connections), str(seconds)]
    return [sys.executable, program, side.path, arguments, *_manner(case), *numbers]


def _manner(case: Case) -> list[str]:
    """Say how lines are taken, and give a word that no other run has."""
    return ["once" if case.method == _ONCE else "draw", f"{time.time_ns()}-"]


def requests_file(ground: Ground, case: Case, side: Side) -> Path:
    """Name the file with the requests of a side."""
    return ground.directory / re.sub(r"[^A-Za-z0-9]+", "-", f"{case.name} {side.name}")


def _authorization(ground: Ground, case: Case, side: Side) -> dict[str, str]:
    """Give the header with our key where our service wants one.

    Reads are open on loopback. PostgREST takes every `Authorization` for a JWT of its own.
    """
    if side.server == "ours" and case.method != "GET":
        return {"Authorization": f"Bearer {ground.key}"}
    return {}


def answer_of(ground: Ground, case: Case, side: Side, server: Server) -> bytes:
    """Ask once, and give the answer's body; stop if it is not what was asked for."""
    line = requests_file(ground, case, side).read_text().partition("\n")[0]
    method, path, match, body = line.split("\t")
    headers = {"Accept": side.accept} | _authorization(ground, case, side)
    if body:
        headers |= {"Content-Type": side.media_type, "Prefer": side.prefer}
    if match:
        headers["If-Match"] = match
    sent = body.replace(LINE_END, "\n").replace(records.UNIQUE, str(time.time_ns())).encode()
    url = server.address + path
    request = urllib.request.Request(url, sent or None, headers, method=method)  # noqa: S310 - our own servers
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
            document: bytes = answer.read()
    except urllib.error.HTTPError as error:
        sys.exit(f"{case.name}, {side.name}: {error.code} {error.read().decode()}")
    count = _count(document.splitlines()[-1] if side.accept == NDJSON else document)
    if document and count != case.items:
        sys.exit(f"{case.name}, {side.name}: {count} records, not {case.items}.")
    return document


def _count(document: bytes) -> int:
    """Count the records of an answer: of a list, of a page, of an import, or the one."""
    answer = json.loads(document or b"[]")
    if isinstance(answer, list):
        return len(answer)
    created = answer.get("totals", answer).get("created")
    return created if created is not None else len(answer.get("items", [answer]))


def get_json(server: Server, path: str) -> Any:  # noqa: ANN401 - JSON
    """Read a document from a server."""
    request = urllib.request.Request(server.address + path, headers={"Accept": JSON})  # noqa: S310 - our own servers
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
        return json.load(answer)
