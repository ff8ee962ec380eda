"""Ask one side as fast as it answers: write its requests, run wrk or the loop, read the counts."""

from __future__ import annotations

import json
import os
import re
import resource
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
from results import Measured  # likewise
from servers import DATABASE_CONNECTIONS, NotMeasured, Server  # likewise
from workloads import JSON, LOOP, NDJSON, Case, Side  # likewise

HERE: Final = Path(__file__).parent
LINE_END: Final = "\x1f"
"""Stands for the line ends of a body, since each request is a line."""
LONGER: Final = (1, 4, 16)
"""By how much a round is lengthened, as long as nothing is answered."""
ONE_SECONDS: Final = 120
"""How long a first answer may take; an import by 1,000 requests takes long."""
MAX_SAID: Final = 300
"""How many characters are shown of an answer that is not as it should be."""
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
    database: str = ""  # whose processes alone are counted, where others are beside it


def write_requests(ground: Ground, case: Case, side: Side, draws: Iterable[Draw]) -> None:
    """Write the requests of a side, or the arguments of the loop's statement, one in each line."""
    lines = []
    for draw in draws:
        for body in side.bodies or case.bodies:
            in_one_line = _filled(body, draw).replace("\n", LINE_END)
            given = {**draw, "body": in_one_line}
            fields = [side.match.format(**given)]
            if side.server != LOOP:
                fields = [
                    side.method or case.method,
                    side.path.format(**given),
                    *fields,
                    in_one_line,
                ]
            lines.append("\t".join(fields))
    requests_file(ground, case, side).write_text("\n".join(lines) + "\n")


def _filled(body: str, draw: Draw) -> str:
    """Put what is drawn into a body: `@id@` stands for the id, since JSON has braces of its own."""
    for name, value in draw.items():
        body = body.replace(f"@{name}@", value)
    return body


def measure(
    ground: Ground, case: Case, side: Side, server: Server | None, seconds: int
) -> Measured:
    """Ask for some seconds, or longer if nothing was answered."""
    for longer in LONGER:
        told, mine, postgres, others = _timed(ground, case, side, server, seconds * longer)
        if told["failed"]:
            raise NotMeasured(f"{told['failed']} of {told['requests']} requests failed.")
        if told["requests"]:
            requests = told["requests"]
            if case.connections == 1:  # the end cut one off, and a round has few of them
                requests = told["microseconds"] / told["mean"]
            rate = requests / told["microseconds"] * 1e6
            of_server, of_postgres = (processor * 1e6 / requests for processor in (mine, postgres))
            return Measured(
                rate, told["p50"] / 1000, told["p99"] / 1000, of_server, of_postgres, others
            )
    raise NotMeasured(f"It answered nothing in {seconds * LONGER[-1]} s.")


def _timed(
    ground: Ground, case: Case, side: Side, server: Server | None, seconds: int
) -> tuple[dict[str, Any], float, float, float]:
    """Give what the program told, the processor seconds of the server and of Postgres, and more.

    The last number is the share of all processors that nothing of this had meanwhile.
    """
    command = (
        _wrk(ground, case, side, server, seconds) if server else _loop(ground, case, side, seconds)
    )
    pids = machine.family(server.pid) if server else []
    before = machine.processor_seconds(pids), _postgres(ground)
    began, busy, asked = time.monotonic(), machine.busy_seconds(), _of_children()
    done = subprocess.run(
        command,
        check=True, capture_output=True, text=True, timeout=seconds + 60,
        env={**os.environ, "DATABASE_URL": ground.url, "POOL": str(DATABASE_CONNECTIONS)},
    )  # fmt: skip
    after = machine.processor_seconds(pids), _postgres(ground)
    spent = after[0] - before[0], _since(before[1], after[1])
    all_spent = sum(spent) + _of_children() - asked
    most = (time.monotonic() - began) * (os.cpu_count() or 1)
    others = max(0.0, machine.busy_seconds() - busy - all_spent) / most
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return told, told.get("cpu", spent[0]), spent[1], others


def _of_children() -> float:
    """Give the processor seconds of the programs that have asked so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _postgres(ground: Ground) -> dict[int, float]:
    """Give the processor seconds of Postgres so far, or of its processes beside other databases.

    There, what Postgres does for all of them is left out, such as its checkpoints.
    """
    pids = machine.family(ground.postmaster)
    if not ground.database:
        return {ground.postmaster: machine.processor_seconds(pids)}
    return {pid: machine.processor_seconds([pid]) for pid in machine.serving(pids, ground.database)}


def _since(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Give the seconds since then; of a process that has ended nobody knows them any more."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


def _wrk(ground: Ground, case: Case, side: Side, server: Server, seconds: int) -> list[str]:
    """Write the command that asks a server."""
    command = ["wrk", "-t1", f"-c{case.connections}", f"-d{seconds}s", "--timeout", "60s"]
    for name, value in _headers(ground, case, side).items():
        command += ["-H", f"{name}: {value}"]
    given = [str(requests_file(ground, case, side)), *_manner(case)]
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


def _headers(ground: Ground, case: Case, side: Side) -> dict[str, str]:
    """Give the headers that all requests of a side have.

    Ours wants a key for writes; reads are open on loopback. PostgREST takes every `Authorization`
    for a JWT of its own.
    """
    headers = {"Accept": side.accept}
    if (side.method or case.method) != "GET":
        headers |= {"Content-Type": side.media_type, "Prefer": side.prefer}
        if side.server == "ours":
            headers["Authorization"] = f"Bearer {ground.key}"
    return headers


def answer_of(ground: Ground, case: Case, side: Side, server: Server) -> bytes:
    """Ask once, and give the answer's body, if it is what was asked for."""
    line = requests_file(ground, case, side).read_text().partition("\n")[0]
    method, path, match, body = line.split("\t")
    headers = _headers(ground, case, side)
    if match:
        headers["If-Match"] = match
    sent = body.replace(LINE_END, "\n").replace(records.UNIQUE, str(time.time_ns())).encode()
    url = server.address + path
    request = urllib.request.Request(url, sent or None, headers, method=method)  # noqa: S310 - our own servers
    try:
        with urllib.request.urlopen(request, timeout=ONE_SECONDS) as answer:  # noqa: S310 - as above
            document: bytes = answer.read()
    except TimeoutError:
        raise NotMeasured(f"It answered nothing in {ONE_SECONDS} s.") from None
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")[:MAX_SAID]
        raise NotMeasured(f"It answered {error.code}: {said}") from None
    count = _count(
        json.loads(document.splitlines()[-1] if side.accept == NDJSON else document or "[]")
    )
    if document and count != case.items:
        raise NotMeasured(f"It answered {count} records, not {case.items}: {document[:MAX_SAID]!r}")
    return document


def _count(answer: Any) -> int:  # noqa: ANN401 - JSON
    """Count the records of an answer: of a list, of a page, of an import, or the one.

    Directus, Kinto and GraphQL have it in `data`; GraphQL has it there in the field asked for.
    """
    if isinstance(answer, list):
        return len(answer)
    if answer is None or "errors" in answer:
        return 0
    if "data" in answer:
        inner = answer["data"]
        is_field = isinstance(inner, dict) and len(inner) == 1
        return _count(next(iter(inner.values())) if is_field else inner)
    told = answer.get("totals", answer)
    lists = (len(answer[name]) for name in ("items", "nodes", "responses") if name in answer)
    return int(told["created"]) if "created" in told else next(lists, 1)


def get_json(server: Server, path: str) -> Any:  # noqa: ANN401 - JSON
    """Read a document from a server."""
    request = urllib.request.Request(server.address + path, headers={"Accept": JSON})  # noqa: S310 - our own servers
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
        return json.load(answer)
