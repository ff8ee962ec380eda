"""Targets of webhooks: which addresses may be named, and which are connected to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address, ip_network
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook as Verifier

from api.settings import Settings, SettingsError, networks, read
from api.sync.webhooks.addresses import Reach, TargetRefused, parse_url, permitted, reach
from api.sync.webhooks.targets import Targets
from tests.conftest import (
    patient,
    serving,
)
from tests.receiving import (
    PUBLIC_URL,
    Receiver,
    a_receiver,  # noqa: F401 - a fixture
    claimed,
    delivering,
    execute,
    logged,
    made,
    receiving,
)
from tests.world import faults

INSIDE = [
    "https://127.0.0.1/", "https://127.1/", "https://0x7f.1/", "https://0177.0.0.1/",
    "https://2130706433/", "https://127.0.0.1./", "https://0/", "https://10.0.0.1/",
    "https://172.16.0.1/", "https://192.168.1.1/", "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/", "https://168.63.129.16/", "https://192.0.0.8/",
    "https://198.18.0.1/", "https://192.0.2.1/", "https://224.0.0.1/", "https://255.255.255.255/",
    "https://[::]/", "https://[::1]/", "https://[::127.0.0.1]/", "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/", "https://[64:ff9b::7f00:1]/", "https://[64:ff9b::10.0.0.1]/",
    "https://[64:ff9b:1::808:808]/", "https://[2002:7f00:1::]/", "https://[2002:808:808::]/",
    "https://[2001:0:808:808::1]/", "https://[fc00::1]/", "https://[fd00:ec2::254]/",
    "https://[fe80::1]/", "https://[ff02::1]/", "https://[2001:db8::1]/", "https://[100::1]/",
    "https://[3fff::1]/", "https://[5f00::1]/", "https://[4000::1]/",
]  # fmt: skip
NO_TARGET = [
    "http://receiver.example/", "http://8.8.8.8/", "https://", "https://:443/", "https:///path",
    "https://user@receiver.example/", "https://user:secret@receiver.example/",
    "https://receiver.example@127.0.0.1/", "https://receiver.example:0/",
    "https://receiver.example:65536/", "https://receiver.example/#part", "https://%31%32%37.0.0.1/",
    "https://[receiver.example]/", "https://[fe80::1%25lo]/", "https://./", "https://-/",
]  # fmt: skip


OWN_MACHINE = [
    "127.0.0.1", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "127.0.0.1.", "[::1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
]  # fmt: skip
SETTING = "CLAIM_RECORDS_WEBHOOK_NETWORKS"


@pytest.fixture(scope="session")
async def open_client(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Serve this worker's database as a service does that listens on every address."""
    settings = patient(pool_size=2, rate_per_minute=10_000_000, host="0.0.0.0")  # noqa: S104
    async with serving(database_url, settings) as found:
        yield found


@pytest.mark.parametrize("url", [*INSIDE, *NO_TARGET])
async def test_a_target_inside_is_refused_when_it_is_named(
    open_client: httpx.AsyncClient, url: str
) -> None:
    answer = await open_client.post("/v1/webhooks", json={"url": url})
    assert faults(answer) == {"/url": "invalid-value"}


@pytest.mark.parametrize("url", [*INSIDE, *NO_TARGET])
async def test_a_service_on_loopback_refuses_every_other_target_inside(
    client: httpx.AsyncClient, url: str
) -> None:
    answer = await client.post("/v1/webhooks", json={"url": url})
    if url.removeprefix("https://").removesuffix("/") in OWN_MACHINE:
        assert answer.status_code == 201
        await client.delete(f"/v1/webhooks/{answer.json()['id']}")
    else:
        assert faults(answer) == {"/url": "invalid-value"}


@pytest.mark.parametrize("host", [*OWN_MACHINE, "localhost", "LOCALHOST.", "hooks.localhost"])
async def test_a_service_on_loopback_takes_receivers_on_its_own_machine(
    client: httpx.AsyncClient, host: str
) -> None:
    url = f"http://{host}:9000/hook?a=b"
    webhook = await made(client, url)
    assert webhook["url"] == url
    await client.delete(f"/v1/webhooks/{webhook['id']}")


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example/", "http://8.8.8.8/", "http://localhost.example/",
        "http://0.0.0.0/", "https://0.0.0.0/", "http://10.0.0.1/", "https://10.0.0.1/",
        "http://[64:ff9b::7f00:1]/", "https://[64:ff9b::7f00:1]/",
    ],
)  # fmt: skip
async def test_a_refused_target_names_the_setting_that_permits_it(
    client: httpx.AsyncClient, open_client: httpx.AsyncClient, url: str
) -> None:
    for each in (client, open_client):
        answer = await each.post("/v1/webhooks", json={"url": url})
        assert faults(answer) == {"/url": "invalid-value"}
        assert f"`{SETTING}`" in answer.json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("settings", "local"),
    [
        ({}, True),
        ({"host": "localhost"}, True),
        ({"host": "::1"}, True),
        ({"host": "0.0.0.0"}, False),  # noqa: S104
        ({"host": "10.0.0.7"}, False),
        ({"allowed_hosts": "records.example"}, False),  # a proxy lets others in
        ({"trusted_proxies": "127.0.0.1"}, False),
        ({"webhook_networks": "10.0.0.0/8"}, False),
        ({"open_reads": False}, True),
    ],
)
def test_receivers_on_the_own_machine_are_for_services_that_nobody_else_can_call(
    settings: dict[str, Any], *, local: bool
) -> None:
    assert reach(Settings(**settings)).own_machine is local


async def test_a_developer_receives_over_http_on_the_own_machine(empty_url: str) -> None:
    async with receiving() as receiver, delivering(empty_url, listed=None) as client:
        port = parse_url(receiver.url).port
        for number, host in enumerate(("127.0.0.1", "localhost"), start=1):
            webhook = await made(client, f"http://{host}:{port}/hook")
            await claimed(client)
            (*_, got) = await receiver.until(number)
            Verifier(webhook["secret"]).verify(got.body, got.headers)
            await client.delete(f"/v1/webhooks/{webhook['id']}")


async def test_a_receiver_with_an_ipv6_address_is_reached() -> None:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "::1", 0)
    async with server:
        targets = Targets(Reach(own_machine=True), 1)
        url = f"http://[::1]:{server.sockets[0].getsockname()[1]}/hook"
        assert (await targets.post(url, [], b"{}", 5)).status == 204
        await targets.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_other_name_leads_to_the_own_machine(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    targets = Targets(Reach(own_machine=True), 1)
    monkeypatch.setattr(socket, "getaddrinfo", resolving(["127.0.0.1"]))
    with pytest.raises(TargetRefused, match=SETTING):
        await targets.post(f"{scheme}://resolved.example/", [], b"", 5)
    await targets.close()


@pytest.mark.parametrize("address", ["10.0.0.1", "93.184.216.34"])
async def test_localhost_leads_nowhere_but_to_the_own_machine(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    targets = Targets(Reach(own_machine=True), 1)
    monkeypatch.setattr(socket, "getaddrinfo", resolving([address]))
    with pytest.raises(TargetRefused, match="may not be reached"):
        await targets.post("http://localhost/", [], b"", 5)
    await targets.close()


@pytest.mark.parametrize(
    "url",
    [
        PUBLIC_URL,
        "https://receiver.example.:8443/a?b=c",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
        "https://[64:ff9b::808:808]/",
    ],
)
async def test_a_target_outside_is_taken(client: httpx.AsyncClient, url: str) -> None:
    assert (await made(client, url))["url"] == url


@pytest.mark.parametrize("name", ["localhost", "localhost.", "ip6-localhost", "0x7f.1"])
async def test_a_name_that_leads_inside_is_refused_when_it_is_connected_to(
    empty_url: str, name: str
) -> None:
    async with receiving() as receiver:
        port = parse_url(receiver.url).port
        async with delivering(empty_url, listed=None, host="0.0.0.0") as client:  # noqa: S104
            webhook = await made(client, PUBLIC_URL)
            # As if it had been taken before, or the name had led elsewhere then.
            await execute(empty_url, "UPDATE webhooks SET url = $1", f"https://{name}:{port}/")
            await claimed(client)
            delivery = (await logged(client, webhook, 1))[-1]
            assert delivery["status"] is None
            assert "may not be reached" in delivery["error"] or "no address" in delivery["error"]
            assert "127.0.0.1" not in delivery["error"]
        assert receiver.got == []


def resolving(*answers: list[str]) -> Callable[..., Any]:
    """Make a resolver that gives these addresses of a name, one list after another.

    Services of other tests, which have receivers of their own, do not get any of them.
    """
    left = list(answers)

    def resolve(host: str, port: int | None, flags: int = 0, **__: Any) -> list[Any]:
        if flags & socket.AI_NUMERICHOST or host.startswith("receiver.example"):
            raise socket.gaierror("It is a name.")
        return [(0, 0, 0, "", (address, port)) for address in left.pop(0)]

    return resolve


async def test_every_address_of_a_name_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = Targets(Reach(), 1)
    resolve = resolving(["93.184.216.34", "10.0.0.1"], ["::ffff:10.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for _ in range(2):
        with pytest.raises(TargetRefused, match="may not be reached"):
            await targets.post("https://resolved.example/", [], b"", 5)
    await targets.close()


async def test_the_address_that_was_checked_is_the_one_connected_to(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    port = parse_url(receiver.url).port
    targets = Targets(Reach([ip_network("127.0.0.0/8")]), 1)
    # Asked a second time, the name would lead elsewhere.
    monkeypatch.setattr(socket, "getaddrinfo", resolving(["127.0.0.1"]))
    url = f"http://resolved.example.:{port}/a?b"
    assert (await targets.post(url, [], b"{}", 5)).status == 204
    monkeypatch.undo()
    assert receiver.got[0].headers["host"] == f"resolved.example:{port}"
    await targets.close()


async def test_plain_http_stays_within_the_networks_that_were_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    targets = Targets(Reach([ip_network("127.0.0.0/8")]), 1)
    monkeypatch.setattr(socket, "getaddrinfo", resolving(["93.184.216.34"]))
    with pytest.raises(TargetRefused, match="may not be reached"):
        await targets.post("http://resolved.example/", [], b"", 5)
    await targets.close()


async def test_no_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    targets = Targets(Reach([ip_network("127.0.0.0/8")]), 1)
    assert (await targets.post(receiver.url, [], b"{}", 5)).status == 204
    await targets.close()


@pytest.mark.parametrize(
    ("address", "listed", "allowed"),
    [
        ("10.1.2.3", "10.1.0.0/16", True),
        ("10.2.2.3", "10.1.0.0/16", False),
        ("::ffff:10.1.2.3", "10.1.0.0/16", True),
        ("64:ff9b::10.1.2.3", "10.1.0.0/16", True),
        ("::10.1.2.3", "10.1.0.0/16", False),
        ("64:ff9b:1::a01:203", "64:ff9b:1::/48", True),
        ("fd00::1", "fd00::/8", True),
        ("8.8.8.8", "10.0.0.0/8", True),
    ],
)
def test_listed_networks_may_be_reached(address: str, listed: str, *, allowed: bool) -> None:
    assert permitted(ip_address(address), networks("webhook_networks", listed)) is allowed


def test_listed_networks_are_checked_when_they_are_read() -> None:
    name = "CLAIM_RECORDS_WEBHOOK_NETWORKS"
    assert read({name: "10.0.0.0/8, ::1/128"}).webhook_networks == "10.0.0.0/8, ::1/128"
    for wrong in ("10.0.0.1/8", "300.0.0.0/8", "ten", "10.0.0.0/8 11.0.0.0/8"):
        with pytest.raises(SettingsError, match=name):
            read({name: wrong})
