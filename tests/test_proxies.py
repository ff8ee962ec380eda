"""The address of a client behind proxies: what trusted ones say counts, and nothing else."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.access.proxies import Proxies
from api.app import create_app
from api.core.db import Database
from api.settings import Settings, SettingsError, read
from tests.conftest import allow, as_service, patient, running

PROXY = "10.0.0.1"
TRUSTED = Settings(trusted_proxies="10.0.0.0/8, 2001:db8::/32")
XFF, FORWARDED = "x-forwarded-for", "forwarded"


def client_of(peer: str, *headers: tuple[str, str], settings: Settings = TRUSTED) -> str:
    """Give the address that a request is counted for."""
    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope: dict[str, Any] = {"client": (peer, 4711), "headers": raw}
    Proxies(settings).find_client(scope)
    address: str = scope["client"][0]
    return address


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ([(XFF, "192.0.2.7")], "192.0.2.7"),
        ([(XFF, "192.0.2.7:4711")], "192.0.2.7"),
        ([(XFF, "[2001:db9::1]:80")], "2001:db9::1"),
        ([(XFF, "::ffff:192.0.2.7")], "192.0.2.7"),
        ([(FORWARDED, "for=192.0.2.7;proto=https;by=10.0.0.1")], "192.0.2.7"),
        ([(FORWARDED, 'For="[2001:db9::1]:4711"')], "2001:db9::1"),
        # Only what stands behind the last address that is no proxy's was written by proxies.
        ([(XFF, "1.1.1.1, 192.0.2.7")], "192.0.2.7"),
        ([(XFF, "1.1.1.1, 192.0.2.7, 10.9.9.9")], "192.0.2.7"),
        ([(XFF, "1.1.1.1"), (XFF, "192.0.2.7")], "192.0.2.7"),
        ([(FORWARDED, "for=1.1.1.1, for=192.0.2.7, for=10.9.9.9")], "192.0.2.7"),
        ([(FORWARDED, 'by="a,for=1.1.1.1";for=192.0.2.7')], "192.0.2.7"),
        # All are proxies: the first one asks for itself.
        ([(XFF, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
        # A client that is hidden, or nonsense: the last proxy that is known.
        ([(XFF, "unknown")], PROXY),
        ([(XFF, "192.0.2.7, unknown, 10.0.0.2")], "10.0.0.2"),
        ([(FORWARDED, "for=_hidden, for=10.0.0.2")], "10.0.0.2"),
        ([(FORWARDED, "proto=https")], PROXY),
        ([(FORWARDED, 'for="1.1.1.1, for=192.0.2.7')], PROXY),
        ([(XFF, "")], PROXY),
        ([], PROXY),
        # A proxy writes one of the two, and the client may have written the other.
        ([(XFF, "192.0.2.7"), (FORWARDED, "for=1.1.1.1")], PROXY),
        ([(XFF, "192.0.2.7"), (FORWARDED, "for=192.0.2.7")], "192.0.2.7"),
    ],
)
def test_a_trusted_proxy_says_who_the_client_is(
    headers: list[tuple[str, str]], client: str
) -> None:
    assert client_of(PROXY, *headers) == client


@pytest.mark.parametrize("header", [(XFF, "1.1.1.1"), (FORWARDED, "for=1.1.1.1")])
def test_nobody_else_says_who_they_are(header: tuple[str, str]) -> None:
    assert client_of("192.0.2.9", header) == "192.0.2.9"
    assert client_of(PROXY, header, settings=Settings()) == PROXY


PROTO = "x-forwarded-proto"


@pytest.mark.parametrize(
    ("peer", "headers", "scheme"),
    [
        (PROXY, [(PROTO, "https")], "https"),
        (PROXY, [(PROTO, "HTTPS, https")], "https"),
        (PROXY, [(FORWARDED, "for=192.0.2.7;proto=https")], "https"),
        (PROXY, [(PROTO, "https"), (FORWARDED, "proto=https, for=192.0.2.7")], "https"),
        # Proxies that disagree, or nonsense: the scheme by which the request has arrived.
        (PROXY, [(PROTO, "https, http")], "http"),
        (PROXY, [(PROTO, "javascript")], "http"),
        (PROXY, [(PROTO, "")], "http"),
        (PROXY, [], "http"),
        ("192.0.2.9", [(PROTO, "https")], "http"),
    ],
)
def test_a_trusted_proxy_says_by_which_scheme_a_request_was_sent(
    peer: str, headers: list[tuple[str, str]], scheme: str
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope: dict[str, Any] = {"client": (peer, 4711), "headers": raw, "scheme": "http"}
    Proxies(TRUSTED).find_client(scope)
    assert scope["scheme"] == scheme


def test_the_proxies_are_checked_when_they_are_read() -> None:
    assert read({"CLAIM_RECORDS_TRUSTED_PROXIES": "10.0.0.0/8"}).trusted_proxies == "10.0.0.0/8"
    with pytest.raises(SettingsError, match="CLAIM_RECORDS_TRUSTED_PROXIES"):
        read({"CLAIM_RECORDS_TRUSTED_PROXIES": "10.0.0.1/8"})


async def test_each_client_behind_a_proxy_has_its_own_limit_and_is_named(
    empty_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings = patient(trusted_proxies="127.0.0.1", rate_per_minute=2, open_reads=True)
    app = create_app(settings, Database(as_service(empty_url), settings))
    await allow(empty_url)
    async with running(app):
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for address in ("192.0.2.1", "192.0.2.2"):
                headers = {XFF: address}
                statuses = [
                    (await client.get("/v1/vocabularies", headers=headers)).status_code
                    for _ in range(3)
                ]
                assert statuses == [200, 200, 429]
    logged = [r for r in caplog.records if r.name == "claim_records.access"]
    assert [vars(r)["address"] for r in logged] == ["192.0.2.1"] * 3 + ["192.0.2.2"] * 3
