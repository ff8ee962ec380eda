"""Schemathesis, with all of its checks, finds nothing that `schemathesis.toml` does not explain."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest

from tests.conftest import KEY, allow, as_service, bearer, cloned
from tests.factories import EVERY, Noun
from tests.test_cli import environment, serving
from tests.traffic import resolved

HERE: Final = Path(__file__).parent
PUBLISHED: Final = HERE.parent / "openapi" / "openapi.json"
DOCUMENT: Final[dict[str, Any]] = json.loads(PUBLISHED.read_text())
OPERATIONS: Final = {
    f"{method.upper()} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}
SERVED: Final = {
    "CLAIM_RECORDS_RATE_PER_MINUTE": "10000000",
    "CLAIM_RECORDS_LOG_LEVEL": "warning",
    "CLAIM_RECORDS_WEBHOOK_NETWORKS": "127.0.0.0/8",
}
SEED: Final = 20
REQUESTS: Final = "10"
"""How many random requests an operation gets of each kind, at most."""
WALKS: Final = "50"
"""How many walks a round has, at most."""
ROUNDS: Final = 40
"""How many rounds there may be until each way was taken: one to three, as a rule."""
BEGINNINGS: Final = ("--exclude-operation-id-regex", "^(restore|get.*ByExternalId$)")
"""What keeps walks from beginning where nothing is: schemathesis takes these for better beginnings
than a POST whose body refers to other records, and names of made-up records lead nowhere."""
PATIENCE: Final = 1800
"""Seconds for what takes two minutes, on a machine that does much else."""
EVERYWHERE: Final = frozenset({404, 428})
"""What each operation that documents it has to have answered with, whatever is made up."""
COVERED: Final = {operation["operationId"] for operation in OPERATIONS.values()} - {
    name
    for each in tomllib.loads((HERE / "schemathesis.toml").read_text())["operations"]
    if not each.get("phases", {}).get("coverage", {}).get("enabled", True)
    for name in each["include-operation-id"]
}
"""The operations of which each parameter and each part of the body is tried by itself."""
NEVER: Final = {
    403: "the key may do everything",
    408: "a body comes whole",
    413: "no body is made up that is so long",
    421: "the Host is the service's own",
    429: "the limit is out of reach",
    500: "nothing fails",
    503: "nothing fails",
    507: "nothing fails",
}
"""What can't come here, and why; `test_contract_traffic.py` brings it out."""
Record = Callable[[str, object], None]


class Call(NamedTuple):
    """A request that was made, by its operation, its status, and the link that led there."""

    operation: str
    status: int
    link: str | None


@asynccontextmanager
async def service(template: str, tmp_path: Path) -> AsyncIterator[str]:
    """Serve a database of one's own, which is left as it has to be; gives its address."""
    async with cloned(template) as url:
        await allow(url)
        settings = SERVED | {"DATABASE_URL": as_service(url), "MIGRATE_URL": url}
        with serving(tmp_path, **settings) as running:
            yield running.address
            async with httpx.AsyncClient(base_url=running.address, headers=bearer(KEY)) as client:
                me = await client.get("/v1/me")
            assert me.json()["scopes"], "the key was withdrawn on the way"
            assert running.stop() == 0


async def run(address: str, tmp_path: Path, *arguments: str, seed: int = SEED) -> list[Call]:
    """Let schemathesis loose on a service."""
    report = tmp_path / f"{seed}.ndjson"
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "schemathesis.cli"),
            *("--config-file", str(HERE / "schemathesis.toml")),
            *("run", str(PUBLISHED), "--url", address),
            *("--header", f"Authorization: Bearer {KEY}"),
            *("--seed", str(seed), "--generation-database", "none", "--continue-on-failure"),
            *("--no-color", "--report-ndjson-path", str(report), *arguments),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(SCHEMATHESIS_HOOKS="tests.schemathesis_hooks", PYTHONPATH=str(HERE.parent)),
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    return list(calls(report))


def calls(report: Path) -> Iterator[Call]:
    """Read what was done."""
    with report.open() as lines:
        for line in lines:
            finished = json.loads(line).get("ScenarioFinished", {})
            recorder = finished.get("recorder", {})
            answers = recorder.get("interactions", {})
            for identity, case in recorder.get("cases", {}).items():
                response = answers.get(identity, {}).get("response")
                if response is not None:
                    value, link = case["value"], case.get("transition") or {}
                    name = f"{value['method']} {value['path']}"
                    yield Call(name, response["status_code"], link.get("id"))


@pytest.mark.outside
async def test_what_the_document_allows_and_forbids_is_so(
    template: str, tmp_path: Path, record_property: Record
) -> None:
    async with service(template, tmp_path) as address:
        found = await run(address, tmp_path, "--phases", "examples,coverage")
    record_property("contract", table(found))
    seen = {(call.operation, call.status) for call in found}
    assert OPERATIONS.keys() - {name for name, _ in seen} == set()
    documented = {
        (name, int(status))
        for name, operation in OPERATIONS.items()
        if operation["operationId"] in COVERED
        for status in operation["responses"]
    }
    assert {each for each in documented - seen if each[1] in EVERYWHERE} == set()


def table(found: list[Call]) -> str:
    """Count how many of the operations that document a status have answered with it."""
    seen = {(call.operation, call.status) for call in found}
    names = {name for name, _ in seen} & OPERATIONS.keys()
    lines = [f"schemathesis: {len(found)} requests; operations {len(names)} of {len(OPERATIONS)}"]
    for status in sorted({int(s) for o in OPERATIONS.values() for s in o["responses"]}):
        documented = [name for name, o in OPERATIONS.items() if str(status) in o["responses"]]
        count = sum((name, status) in seen for name in documented)
        why = f" ({NEVER[status]})" if status in NEVER else ""
        lines.append(f"  {status}: {count} of {len(documented)} operations{why}")
    return "\n".join(lines)


@pytest.mark.outside
async def test_random_requests_are_answered_as_documented(template: str, tmp_path: Path) -> None:
    async with service(template, tmp_path) as address:
        found = await run(address, tmp_path, "--phases", "fuzzing", "--max-examples", REQUESTS)
    assert OPERATIONS.keys() - {call.operation for call in found} == set()


@pytest.mark.outside
@pytest.mark.parametrize("noun", EVERY.values(), ids=list(EVERY))
async def test_one_operation_leads_to_the_next(
    template: str, tmp_path: Path, noun: Noun, record_property: Record
) -> None:
    made, changed = ways(noun, "POST"), (ways(noun, "PUT"), ways(noun, "PATCH"))
    followed: set[str] = set()
    chosen = ("--include-path-regex", f"^{noun.path}(/|$)", *BEGINNINGS, "--phases", "stateful")
    async with service(template, tmp_path) as address:
        # A walk is random, and so is which way it takes: there are more until enough were taken.
        for rounds in range(1, ROUNDS + 1):
            arguments = (*chosen, "--max-examples", WALKS)
            found = await run(address, tmp_path, *arguments, seed=SEED + rounds)
            followed |= {call.link for call in found if call.link and call.status < 400}
            if made <= followed and all(each & followed for each in changed):
                break
    told = f"{len(followed)} of {links(noun)} links followed, in {rounds} rounds of walks"
    record_property("contract", f"schemathesis: {noun.type}: {told}")
    assert made - followed == set()
    assert all(each & followed for each in changed)


def ways(noun: Noun, method: str) -> set[str]:
    """Name the links that lead from where a record was written to what can be done with it."""
    one, name = f"{noun.path}/{{id}}", noun.resource.record.__name__
    source = f"POST {noun.path} -> [201]" if method == "POST" else f"{method} {one} -> [200]"
    verbs = {"get": "GET", "replace": "PUT", "update": "PATCH", "delete": "DELETE"}
    return {f"{source} {verb}{name} -> {target} {one}" for verb, target in verbs.items()}


def links(noun: Noun) -> int:
    """Count the links that the operations of a noun document."""
    answers = (
        resolved(DOCUMENT, answer)
        for name, operation in OPERATIONS.items()
        if name.partition(" ")[2].startswith(noun.path)
        for answer in operation["responses"].values()
    )
    return sum(len(answer.get("links", ())) for answer in answers)
