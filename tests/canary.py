"""Watch a run of the suite for keys and webhooks' secrets: `pytest -p tests.canary`.

They may stand nowhere but where they are shown once.

Searched are every log record, written by both formatters, with all loggers at debug; every answer
that a client got, without the two fields that show a key this once; what commands and servers
wrote on standard error; and of each database what is kept of changes (audit, revisions, outbox,
keys). Looked for are whole keys, by their form, and the secrets and hashes of every key that was
written or read in the test's own process.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypedDict

import asyncpg
import httpx
import pytest

from api.access import keyring
from api.server.logs import JsonLines, TextLines

_KEY: Final = re.compile(r"clk_[a-z0-9]{12}_[0-9A-Za-z]{36}|whsec_[0-9A-Za-z+/=]{32,}")
# As long as a secret, one with its checksum, or a hash in hex, as Postgres writes it or not.
_SECRET: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9A-Za-z]{30}|[0-9A-Za-z]{36}|x?[0-9a-f]{64})(?![0-9A-Za-z])"
)
_KEPT: Final = {
    "audit": "SELECT t::text FROM audit t",
    "keys": "SELECT (to_jsonb(t) - 'hash' - 'previous_hash')::text FROM keys t",
    "idempotency_keys": "SELECT convert_from(body, 'UTF8') FROM idempotency_keys",
    "outbox": "SELECT t::text FROM outbox t",
    "revisions": "SELECT t::text FROM revisions t",
    "webhook_deliveries": "SELECT t::text FROM webhook_deliveries t",
}
PLANTED: Final = 9
_SHOWN_ONCE: Final = re.compile(r"/v1/(?:keys|webhooks)(?:/[a-z0-9-]+/rotate)?\Z")


class Canary:
    """What was searched, and what was found where."""

    def __init__(self) -> None:
        """Have seen nothing."""
        self.searched: dict[str, int] = {}
        self.found: list[str] = []
        self.test = "before the first test"
        self._known: set[str] = set()
        self._suspects: dict[str, str] = {}

    def learn(self, key: str) -> None:
        """Remember what of a key may stand nowhere."""
        secret, digest = key.rpartition("_")[2], sha256(key.encode()).hexdigest()
        self._known |= {secret, secret[:30], digest, f"x{digest}"}

    def search(self, kind: str, text: str) -> None:
        """Look for a key; what may be a part of one is compared when all are known."""
        self.searched[kind] = self.searched.get(kind, 0) + 1
        place = f"{kind}, {self.test}"
        if _KEY.search(text):
            self.found.append(f"{place}: {_KEY.sub('clk_…', text)[:300]!r}")
        for part in _SECRET.findall(text):
            self._suspects.setdefault(part, place)

    def leaks(self) -> list[str]:
        """Give what was found."""
        parts = self._suspects.keys() & self._known
        return [*self.found, *(f"{self._suspects[part]}: part of a key" for part in parts)]


canary = Canary()


# --- where texts come from ---------------------------------------------------------------------


_STDERR: Final[list[Path]] = []
"""Where servers write it to."""


def log_record(record: logging.LogRecord) -> None:
    """Search a log record in both ways of writing it."""
    for formatter in (TextLines(), JsonLines()):
        # What a test logs to see it fail, fails here too.
        with suppress(TypeError, ValueError):
            canary.search("log", formatter.format(record))


def answer(found: httpx.Response) -> None:
    """Search an answer's head and body; a key that was made is shown in one field."""
    canary.search("answer", str(found.headers.multi_items()))
    if not found.is_stream_consumed and not hasattr(found, "_content"):
        return
    body = found.text
    path = found.request.url.path
    if found.request.method == "POST" and found.is_success and _SHOWN_ONCE.match(path):
        told = json.loads(body)
        if "key" in told:
            canary.learn(told.pop("key"))
        told.pop("secret", None)
        body = json.dumps(told)
    canary.search("answer", body)


async def database(url: str) -> None:
    """Search what a database keeps of changes, where it has the tables."""
    connection = await asyncpg.connect(url)
    try:
        for table, statement in _KEPT.items():
            with suppress(asyncpg.UndefinedTableError):
                for row in await connection.fetch(statement):
                    canary.search(table, row[0])
    finally:
        await connection.close()


def _watched(patch: pytest.MonkeyPatch) -> None:
    """Put the searches where texts pass."""
    from tests import conftest  # noqa: PLC0415 - pytest loads it later than this

    written, call, drop = keyring.written, logging.Logger.callHandlers, conftest._drop  # noqa: SLF001
    send, send_now = httpx.AsyncClient.send, httpx.Client.send
    start, wait = subprocess.Popen.__init__, subprocess.Popen.communicate

    def write(identity: str, secret: str) -> str:
        key = written(identity, secret)
        canary.learn(key)
        return key

    def handle(logger: logging.Logger, record: logging.LogRecord) -> None:
        log_record(record)
        call(logger, record)

    async def ask(client: httpx.AsyncClient, *given: Any, **named: Any) -> httpx.Response:
        found = await send(client, *given, **named)
        answer(found)
        return found

    def ask_now(client: httpx.Client, *given: Any, **named: Any) -> httpx.Response:
        found = send_now(client, *given, **named)
        answer(found)
        return found

    def begin(process: subprocess.Popen[Any], *given: Any, **named: Any) -> None:
        if isinstance(name := getattr(named.get("stderr"), "name", None), str):
            _STDERR.append(Path(name))
        start(process, *given, **named)

    def end(process: subprocess.Popen[Any], *given: Any, **named: Any) -> tuple[Any, Any]:
        found = wait(process, *given, **named)
        canary.search("standard error", str(found[1]))
        return found

    async def leave(url: str) -> None:
        await database(url)
        await drop(url)

    canary.learn(conftest.KEY)
    patch.setattr(keyring, "written", write)
    patch.setattr(logging.Logger, "callHandlers", handle)
    patch.setattr(httpx.AsyncClient, "send", ask)
    patch.setattr(httpx.Client, "send", ask_now)
    patch.setattr(subprocess.Popen, "__init__", begin)
    patch.setattr(subprocess.Popen, "communicate", end)
    patch.setattr(conftest, "_drop", leave)


# --- the planted ones --------------------------------------------------------------------------


def _get(**given: Any) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, **given))
    with httpx.Client(transport=transport) as client:
        client.get("http://127.0.0.1/v1/keys")


def _fail(text: str) -> None:
    try:
        int(text)
    except ValueError:
        logging.getLogger("planted").exception("planted")


def planted() -> list[str]:
    """Plant keys, their secrets and hashes where texts pass; name those that were not seen."""
    log = logging.getLogger("planted")
    log.setLevel(logging.DEBUG)
    plants: dict[str, Callable[[str], None]] = {
        # The log masks whole keys; a secret by itself has nothing by which it could be known.
        "message": lambda key: log.debug("%s", key[-36:]),
        "extra": lambda key: log.debug("planted", extra={"authorization": key[-36:]}),
        "failure": lambda key: _fail(key[-36:]),
        "body": lambda key: _get(json={"a": key}),
        "head": lambda key: _get(headers={"a": key}),
        "row": lambda key: canary.search("audit", f"(1,{key})"),
        "secret": lambda key: canary.search("audit", f"(1,{key[-36:]})"),
        "secret without its checksum": lambda key: canary.search("audit", f"(1,{key[-36:-6]})"),
        "hash": lambda key: canary.search("audit", f"(1,x{keyring.hashed(key).hex()})"),
    }
    assert len(plants) == PLANTED
    unseen = []
    for name, plant in plants.items():
        before = len(canary.leaks())
        plant(keyring.new_key())
        if len(canary.leaks()) == before:
            unseen.append(name)
    return unseen


# --- pytest ------------------------------------------------------------------------------------


class Report(TypedDict):
    """What a process saw."""

    searched: dict[str, int]
    leaks: list[str]
    unseen: list[str]


_SEEN: Final = Report(searched={}, leaks=[], unseen=[])
_REPORTS: Final[list[Report | None]] = []


@pytest.fixture(scope="session", autouse=True)
def _canary() -> Iterator[None]:
    """Watch from the first fixture to the last, and then see whether anything would be seen."""
    with pytest.MonkeyPatch.context() as patch:
        _watched(patch)
        yield
        for path in _STDERR:
            with suppress(FileNotFoundError):
                canary.search("standard error", path.read_text(errors="replace"))
        _SEEN["searched"].update(canary.searched)
        _SEEN["leaks"].extend(canary.leaks())
        _SEEN["unseen"].extend(planted())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have everything logged, whatever the test before has set."""
    canary.test = item.nodeid
    # The command sets its own level; at debug it tells more than the tests of it expect.
    all_of_it = "run" not in getattr(item, "fixturenames", ())
    for name in (None, "claim_records"):
        logging.getLogger(name).setLevel(logging.DEBUG if all_of_it else logging.WARNING)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker saw; one that died saw nothing."""
    _REPORTS.append(getattr(node, "workeroutput", {}).get("canary"))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what this process saw, or judge what all of them did.

    What is found has an exit code of its own: `.ci/run` tries failed tests again, but not this.
    """
    if hasattr(session.config, "workerinput"):
        session.config.workeroutput["canary"] = _SEEN  # type: ignore[attr-defined]
        return
    if not _REPORTS:
        _REPORTS.append(_SEEN)
    seen = [each for each in _REPORTS if each]
    faults = any(each["unseen"] or each["leaks"] for each in seen)
    if faults or len(seen) < len(_REPORTS) or not any(each["searched"] for each in seen):
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was searched and found."""
    seen = [each for each in _REPORTS if each]
    searched = Counter[str]()
    for each in seen:
        searched.update(each["searched"])
    leaks = [leak for each in seen for leak in each["leaks"]]
    unseen = [name for each in seen for name in each["unseen"]]
    terminalreporter.section("canary")
    for kind, count in sorted(searched.items()):
        terminalreporter.line(f"{count:9,} {kind}")
    for line in [*leaks, *(f"planted, not seen: {name}" for name in unseen)]:
        terminalreporter.line(line)
    if len(seen) < len(_REPORTS):
        terminalreporter.line("a worker died and did not tell what it saw")
    terminalreporter.line(
        f"canary: {sum(searched.values()):,} texts searched, planted found "
        f"{PLANTED - len(set(unseen))} of {PLANTED}, others {len(leaks)}"
    )
