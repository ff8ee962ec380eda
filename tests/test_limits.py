"""What the service bears: requests a minute, slow clients, a database that has no time."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from api.access import authentication, keyring, limits
from api.access.limits import Limits
from api.app import create_app, shared_router
from api.core.db import Database
from api.core.errors import Problem
from api.core.filters import Parameter, read_query
from api.settings import Settings
from schemas.vocabularies import Scope
from tests.conftest import PATIENCE, allow, bearer, client_of, cloned, patient, serving
from tests.test_cli import Service
from tests.test_cli import serving as serving_for_real

HEAD, SILENT, STALL = 0.5, 1.0, 0.7  # seconds


# --- requests a minute ---------------------------------------------------------------------------


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_empties_and_fills() -> None:
    found = Limits(Settings(rate_per_minute=120), clock := Clock())
    standings = [found.take("a") for _ in range(121)]
    assert [s.allowed for s in standings] == [True] * 120 + [False]
    assert (standings[0].left, standings[119].left, standings[119].reset) == (119, 0, 60)
    assert found.take("b").allowed
    clock.now += 0.49
    assert not found.take("a").allowed
    clock.now += 0.02
    assert found.take("a").allowed
    assert not found.take("a").allowed
    clock.now += 3600
    assert found.take("a").left == 119


def test_each_process_keeps_its_share() -> None:
    assert Limits(Settings(rate_per_minute=120, workers=4)).most == 30
    assert Limits(Settings(rate_per_minute=1, workers=4)).most == 1


def test_the_buckets_do_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS", 3)
    found = Limits(Settings(rate_per_minute=1), Clock())
    for who in "abca":
        found.take(who)
    found.take("d")  # b was away longest
    assert [found.take(who).allowed for who in "acb"] == [False, False, True]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_one_host_has_one_bucket(one: str, other: str, same: bool) -> None:
    found = Limits(Settings(rate_per_minute=1))
    scopes = [{"state": {}, "path": "/", "headers": [], "client": (a, 1)} for a in (one, other)]
    found.admit(scopes[0])
    if same:
        with pytest.raises(Problem):
            found.admit(scopes[1])
    else:
        found.admit(scopes[1])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stand still, so that no bucket fills while it is emptied."""
    clock = Clock()

    class LimitsByHand(Limits):
        def __init__(self, settings: Settings) -> None:
            super().__init__(settings, clock=clock)

    monkeypatch.setattr("api.app.Limits", LimitsByHand)
    return clock


async def test_too_many_requests_are_429_with_the_way_out(empty_url: str, clock: Clock) -> None:
    async with serving(empty_url, patient(rate_per_minute=3)) as client:
        del client.headers["authorization"]
        for left in (2, 1, 0):
            answer = await client.get("/v1/vocabularies")
            assert answer.status_code == 200
            assert answer.headers["ratelimit-policy"] == '"default";q=3;w=60'
            told = re.fullmatch(r'"default";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
            assert told is not None
            assert (int(told[1]), int(told[2])) == (left, 60 - 20 * left)
        for path in ("/v1/claims", "/nothing"):
            refused = await client.get(path)
            assert refused.status_code == 429
            assert refused.json()["code"] == "rate-limited"
            assert refused.headers["retry-after"] == "20"
            assert refused.headers["ratelimit"].startswith('"default";r=0;t=')
            assert refused.headers["ratelimit-policy"] == '"default";q=3;w=60'
        for _ in range(5):
            alive = await client.get("/health/live")
            assert alive.status_code == 200
            assert "ratelimit" not in alive.headers
        clock.now += 20
        assert (await client.get("/v1/vocabularies")).status_code == 200
        assert (await client.get("/v1/vocabularies")).status_code == 429


@pytest.mark.usefixtures("clock")
async def test_guessed_keys_do_not_pass_the_limit(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []
    read = authentication.Verifier._read  # noqa: SLF001 - what reaches the database is counted

    async def counted(self: authentication.Verifier, identity: str, *more: Any) -> Any:
        looked_up.append(identity)
        return await read(self, identity, *more)

    monkeypatch.setattr(authentication.Verifier, "_read", counted)
    key = bearer(await allow(empty_url, keyring.new_key(), [Scope.READ]))
    async with serving(empty_url, patient(rate_per_minute=20)) as client:
        assert (await client.get("/v1/me", headers=key)).status_code == 200
        looked_up.clear()
        guesses = [bearer(keyring.new_key()) for _ in range(100)]
        answers = await asyncio.gather(*(client.get("/v1/me", headers=each) for each in guesses))
        assert {answer.status_code for answer in answers} <= {401, 429}
        assert len(looked_up) == 20
        # Who has a key that was valid is not shut out by who guesses at the same address.
        assert (await client.get("/v1/me", headers=key)).status_code == 200


@pytest.mark.usefixtures("clock")
async def test_keys_that_are_valid_count_as_no_guesses(empty_url: str) -> None:
    async with serving(empty_url, patient(rate_per_minute=2)) as client:
        for _ in range(5):
            key = bearer(await allow(empty_url, keyring.new_key(), [Scope.READ]))
            assert (await client.get("/v1/me", headers=key)).status_code == 200


@pytest.mark.usefixtures("clock")
async def test_a_burst_at_once_gets_no_more_than_its_tokens(empty_url: str) -> None:
    async with serving(empty_url, patient(rate_per_minute=20)) as client:
        answers = await asyncio.gather(*(client.get("/v1/vocabularies") for _ in range(60)))
    assert sorted(answer.status_code for answer in answers) == [200] * 20 + [429] * 40


@pytest.mark.usefixtures("clock")
async def test_each_key_has_its_own_and_who_has_none_their_address_s(empty_url: str) -> None:
    other = await allow(empty_url, keyring.written("0123456789ab", "1" * 30), {Scope.READ})
    false = bearer(keyring.written("ba9876543210", "1" * 30))
    async with serving(empty_url, patient(rate_per_minute=2)) as client:
        statuses = [(await client.get("/v1/claims")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        for headers, expected in ((bearer(other), [200, 200, 429]), (false, [401, 401, 429])):
            answers = [await client.get("/v1/claims", headers=headers) for _ in range(3)]
            assert [answer.status_code for answer in answers] == expected
        del client.headers["authorization"]  # the false key's requests were the address's
        assert (await client.get("/v1/claims")).status_code == 429


async def test_no_limit_says_nothing(empty_url: str) -> None:
    async with serving(empty_url, patient(rate_per_minute=0)) as client:
        answer = await client.get("/v1/vocabularies")
    assert answer.status_code == 200
    assert not {"ratelimit", "ratelimit-policy"} & answer.headers.keys()


# --- a database that has no time -----------------------------------------------------------------


async def test_a_pool_in_use_is_503_and_refusals_need_none(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs one waits longer here than anybody would, and is 503 in the end."""
    monkeypatch.setattr(authentication, "FRESH_SECONDS", 10 * PATIENCE)
    settings = patient(pool_size=1)
    database = Database(empty_url, settings)
    await allow(empty_url)
    await database.open()
    async with client_of(create_app(settings, database)) as client:
        assert (await client.get("/v1/claims")).status_code == 200  # the key is known now
        async with database.connection():
            database.settings = patient(pool_size=1, acquire_seconds=0.1)
            busy = await client.get("/v1/claims")
            assert (busy.status_code, busy.json()["code"]) == (503, "unavailable")
            assert busy.headers["retry-after"] == "1"
            database.settings = settings
            await refused_without_a_connection(client)
            assert database.use() == (1, 0, 1, 0)
    await database.close()


async def refused_without_a_connection(client: httpx.AsyncClient) -> None:
    record = "/v1/claims/01938f7a-4c00-7000-8000-000000000001"
    json_type = {"Content-Type": "application/json"}
    for method, path, headers, status in (
        ("GET", "/health/live", {}, 200),
        ("GET", "/v1/vocabularies", {}, 200),
        ("GET", "/nothing", {}, 404),
        ("GET", "/v1/claims/1", {}, 404),
        ("GET", "/v1/claims?colour=red", {}, 400),
        ("GET", "/v1/claims?cursor=x", {}, 400),
        ("GET", "/v1/claims?limit=201", {}, 400),
        ("DELETE", "/v1/claims", {}, 405),
        ("GET", record, {"Host": "evil.example"}, 421),
    ):
        answer = await client.request(method, path, headers=headers)
        assert (path, answer.status_code) == (path, status)
    for method, path, headers, body, status in (
        ("POST", "/v1/claims", {"Content-Type": "text/plain"}, b"{}", 415),
        ("POST", "/v1/claims", json_type, b"{", 400),
        ("POST", "/v1/claims", json_type, b"{}", 422),
        ("PUT", record, json_type, b"{}", 428),
        ("PUT", record, json_type | {"If-None-Match": "*"}, b"{}", 422),
        # A patch with If-Match needs the record, for its faults as well.
        ("PATCH", record, {"Content-Type": "application/merge-patch+json"}, b"{}", 428),
        ("DELETE", record, {}, b"", 428),
        ("POST", f"{record}/restore", {}, b"", 428),
        ("POST", "/v1/import", json_type, b"{}", 415),
        ("POST", "/v1/claims", {"Authorization": "Bearer clk_x"}, b"{}", 401),
    ):
        answer = await client.request(method, path, headers=headers, content=body)
        assert answer.status_code == status, (method, path, answer.text)


async def test_a_statement_that_takes_too_long_is_503(empty_url: str) -> None:
    settings = patient(pool_size=1, statement_seconds=0.05)
    database = Database(empty_url, settings)
    await database.open()
    try:
        with pytest.raises(Problem) as raised:
            await database.fetchrow("SELECT pg_sleep($1)", float(PATIENCE))
        assert raised.value.kind.name == "unavailable"
        assert raised.value.headers["Retry-After"] == "1"
    finally:
        await database.close()


# --- sizes ---------------------------------------------------------------------------------------


async def test_many_parameters_are_400_and_many_values_of_one_are_not(
    client: httpx.AsyncClient,
) -> None:
    ids = "&".join(f"id__in=01938f7a-4c00-7000-8000-{n:012x}" for n in range(150))
    assert (await client.get(f"/v1/claims?{ids}")).status_code == 200
    for query in ("&".join("limit=1" for _ in range(65)), f"{ids[:6000]}&{ids[:2000]}"):
        answer = await client.get(f"/v1/claims?{query}")
        assert (answer.status_code, answer.json()["status"]) == (400, 400)


def test_a_query_has_64_different_parameters_at_most() -> None:
    known = {f"p{n}": Parameter(f"p{n}", str, "One of many.") for n in range(65)}
    query = "&".join(f"{name}=x" for name in known).encode()
    assert len(read_query(query.rpartition(b"&")[0], known)) == 64
    with pytest.raises(Problem, match="64"):
        read_query(query, known)


@pytest.mark.parametrize("path", ["/v1/claims", "/v1/articles", "/v1/sources", "/v1/denials"])
async def test_a_page_has_200_at_most(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path, params={"limit": 200})).status_code == 200
    assert (await client.get(path, params={"limit": 201})).status_code == 400


# --- slow clients, on a real socket --------------------------------------------------------------


@pytest.fixture(scope="module")
def url(template: str) -> Iterator[str]:
    """Make a database for the services of this module."""
    with asyncio.Runner() as runner:
        database = cloned(template)
        yield runner.run(database.__aenter__())
        runner.run(database.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def service(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that gives its clients all the time that they take."""
    with serving_for_real(tmp_path_factory.mktemp("limits"), DATABASE_URL=url) as found:
        yield found


@pytest.fixture(scope="module")
def impatient(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that does not."""
    patience = {
        "CLAIM_RECORDS_HEAD_SECONDS": str(HEAD),
        "CLAIM_RECORDS_SILENT_SECONDS": str(SILENT),
        "CLAIM_RECORDS_STALL_SECONDS": str(STALL),
    }
    directory = tmp_path_factory.mktemp("limits")
    with serving_for_real(directory, DATABASE_URL=url, **patience) as found:
        yield found


def connected(service: Service) -> socket.socket:
    """Connect to the service."""
    place = urlsplit(service.address)
    assert place.hostname
    return socket.create_connection((place.hostname, place.port or 0), PATIENCE)


def until_closed(client: socket.socket, drip: bytes = b"") -> None:
    """Send bytes now and then, without end, until the service has closed the connection."""
    gives_up = time.monotonic() + PATIENCE
    client.settimeout(0.1)
    rest = itertools.cycle(drip)
    while time.monotonic() < gives_up:
        try:
            client.sendall(bytes(itertools.islice(rest, 1)))
            if client.recv(65_536) == b"":
                return
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return
    raise AssertionError("it was never closed")


@contextmanager
def lasting(seconds: float) -> Iterator[None]:
    """See that something lasts for so long, or longer; timers of a loop may be a little early."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started >= 0.9 * seconds


GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_a_silent_connection_is_closed(impatient: Service) -> None:
    with lasting(SILENT), connected(impatient) as client:
        until_closed(client)


@contextmanager
def connected_in_time(service: Service, request: bytes, status: bytes) -> Iterator[socket.socket]:
    """Connect, send a request and receive the answer.

    A loaded machine may make the client late, or the service: then the client tries again.
    """
    gives_up = time.monotonic() + PATIENCE
    while time.monotonic() < gives_up:
        with connected(service) as client:
            received = b""
            with suppress(ConnectionResetError, BrokenPipeError):
                client.sendall(request)
                received = client.recv(65_536)
            if received:
                assert received.startswith(b"HTTP/1.1 " + status)
                yield client
                return
    raise AssertionError("it was never in time")


def test_a_connection_that_falls_silent_is_closed(impatient: Service) -> None:
    with lasting(SILENT), connected_in_time(impatient, GET, b"200") as client:
        until_closed(client)


def test_empty_lines_are_no_request(impatient: Service) -> None:
    with connected_in_time(impatient, GET, b"200") as client:
        until_closed(client, b"\r\n")


@pytest.mark.parametrize("head", [b"GET /", b"GET / HTTP/1.1\r\nHost: local", GET[:-1]])
def test_a_head_that_drips_is_closed(impatient: Service, head: bytes) -> None:
    with lasting(HEAD), connected(impatient) as client:
        client.sendall(head)
        until_closed(client, b"x" if head != GET[:-1] else b"")


def test_a_second_head_that_drips_is_closed(impatient: Service) -> None:
    with connected_in_time(impatient, GET + GET[:20], b"200") as client:
        until_closed(client, b"x")


def test_a_body_that_nobody_reads_keeps_no_connection(impatient: Service) -> None:
    request = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    with connected_in_time(impatient, request, b"404") as client:
        until_closed(client, b"x")


def ask_on(client: socket.socket, request: bytes) -> None:
    """Send requests, and read nothing."""
    gives_up = time.monotonic() + PATIENCE
    while time.monotonic() < gives_up:
        client.sendall(request * 10)
        time.sleep(0.05)


@contextmanager
def reading_little(service: Service) -> Iterator[socket.socket]:
    """Connect with a socket that takes little at once."""
    place = urlsplit(service.address)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE)
        client.connect((place.hostname, place.port))
        yield client


def test_an_answer_that_is_not_read_is_cut(impatient: Service) -> None:
    """Ask again and again without reading, until neither side's buffers take more."""
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    cut = pytest.raises((ConnectionResetError, BrokenPipeError))
    with reading_little(impatient) as client, cut:
        ask_on(client, ask)


def in_time(client: Callable[[], bool]) -> None:
    """See that something works out for a client that is in time.

    A loaded machine may make a client, or the service, late at any moment: then it tries again.
    """
    gives_up = time.monotonic() + PATIENCE
    while not client():
        assert time.monotonic() < gives_up, "it never works"


@pytest.mark.long
def test_an_answer_that_is_read_slowly_is_not_cut(impatient: Service) -> None:
    count = 12
    whole = count * len(httpx.get(f"{impatient.address}/openapi.json", timeout=PATIENCE).content)

    def read_slowly() -> bool:
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: %s\r\n\r\n"
        with reading_little(impatient) as client:
            client.sendall(ask % b"keep-alive" * (count - 1) + ask % b"close")
            size, started = 0, time.monotonic()
            with suppress(ConnectionResetError):
                while chunk := client.recv(200_000):
                    size += len(chunk)
                    if time.monotonic() - started < 3 * STALL:
                        time.sleep(0.02)
            return size > whole

    in_time(read_slowly)


@pytest.mark.long
def test_a_quick_client_may_take_its_time_between_requests(impatient: Service) -> None:
    def take_time() -> bool:
        with connected(impatient) as client, suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(4):
                client.sendall(GET)
                received = b""
                while not received.endswith(b"}"):
                    if not (chunk := client.recv(65_536)):
                        return False
                    received += chunk
                assert received.startswith(b"HTTP/1.1 200")
                time.sleep(SILENT * 0.6)
            return True
        return False

    in_time(take_time)


def answered(service: Service, *sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes; give the status, headers and body of the answer, and see it close."""
    with connected(service) as client:
        for part in sent:
            client.sendall(part)
        received = b""
        while chunk := client.recv(65_536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
     b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_request_is_a_problem_and_closed(service: Service, sent: bytes) -> None:
    status, headers, body = answered(service, sent)
    assert status == 400
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers
    told = json.loads(body)
    assert told["code"] == "malformed-request"
    assert told["request_id"] == headers["x-request-id"]


def test_a_head_without_end_is_431_and_closed(service: Service) -> None:
    with connected(service) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        received = b""
        try:
            for _ in range(100):
                client.sendall(b"X: " + b"x" * 4096 + b"\r\n")
                time.sleep(0.001)
        except (ConnectionResetError, BrokenPipeError):
            pass
        try:
            received = client.recv(65_536)
        except ConnectionResetError:
            return  # closed while we were still sending: the answer may be lost with it
        assert received == b"" or received.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("size", [9_000, 60_000, 120_000])
def test_a_long_url_is_told_to_be_too_long(service: Service, size: int) -> None:
    """Shorter headers would be no way out."""
    target = b"/v1/reconcile?queries=" + b"x" * size
    status, _, body = answered(
        service, b"GET " + target + b" HTTP/1.1\r\nConnection: close\r\n\r\n"
    )
    assert (status, json.loads(body)["code"]) == (414, "uri-too-long")


def test_a_request_without_host_is_400(service: Service) -> None:
    status, _, body = answered(service, b"GET /v1/claims HTTP/1.0\r\n\r\n")
    assert (status, json.loads(body)["code"]) == (400, "invalid-header")


def test_trailers_change_nothing(service: Service) -> None:
    status, _, body = answered(
        service,
        b"GET /v1/vocabularies HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
        b"Host: evil.example\r\n\r\n",
    )
    assert status == 200
    assert body


def test_the_service_may_have_many_connections(service: Service) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = Path(f"/proc/{service.process.pid}/limits").read_text()
    found = re.search(r"Max open files +(\w+)", told)
    assert found is not None
    assert found[1] == str(most)


# --- bodies that do not come ---------------------------------------------------------------------


async def dripping(pause: float) -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.sleep(pause)
    yield b"}"


async def test_a_body_that_pauses_is_408_and_closed(empty_url: str) -> None:
    async with serving(empty_url, patient(body_idle_seconds=0.1)) as client:
        answer = await client.post(
            "/v1/claims", content=dripping(PATIENCE), headers={"Content-Type": "application/json"}
        )
    assert (answer.status_code, answer.json()["code"]) == (408, "request-timeout")
    assert answer.headers["connection"] == "close"


def test_no_route_is_exempt_but_health() -> None:
    """Every path of the router is counted, those that come later too."""
    found = Limits(Settings())
    for route in shared_router().routes:
        scope = {"state": {}, "path": route.path, "headers": [], "client": ("192.0.2.1", 1)}
        assert bool(found.headers(scope)) != route.path.startswith("/health/")
