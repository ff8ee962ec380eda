"""A feed cursor goes on when a record type is added, and so do cursors of earlier versions."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from hashlib import blake2b
from typing import Any

import httpx
import pytest

from api.sync.feed import positions
from schemas.vocabularies import RecordType, Scope
from tests.factories import EVERY, create
from tests.test_changes import asking, cursor_of, page, reader, refused, values_of, walk

FORMER_TYPES = 0b1111
"""All types, as bits in the order source, article, claim, denial."""
FORMER_CLASSES = {"all": 0b011_011_011_111, "public": 0b001_001_001_001}


def former(cursor: str, types: int, classes: int) -> str:
    """Write a position as version 0.2 did before types stood in cursors by name."""
    epoch, seq, tag, *_ = values_of(cursor)
    values = json.dumps([epoch, seq, tag, types, classes], separators=(",", ":"))
    body = bytes.fromhex("1511f1e3fe42") + values.encode()
    check = blake2b(body, digest_size=6, person=b"cursor").digest()
    return urlsafe_b64encode(check + body).decode().rstrip("=")


async def types_behind(client: httpx.AsyncClient, since: str, **more: Any) -> list[str]:
    return [item["type"] for item in await walk(client, since, **more)]


async def test_a_cursor_names_the_types(empty: httpx.AsyncClient) -> None:
    *_, covered, _ = values_of(await cursor_of(empty, types="claim,source"))
    assert covered == {
        "source": [0, 1, 2],
        "article": None,
        "claim": [0, 1, 4, 5],
        "denial": None,
    }


async def test_former_cursors_go_on(empty: httpx.AsyncClient, empty_url: str) -> None:
    here = await cursor_of(empty)
    for noun in EVERY.values():
        await create(empty, noun)
    everything = former(here, FORMER_TYPES, FORMER_CLASSES["all"])
    assert await types_behind(empty, everything) == list(EVERY)
    assert await types_behind(empty, everything, types="claim") == ["claim"]
    claims = former(here, 0b0100, FORMER_CLASSES["all"])
    assert await types_behind(empty, claims, types="claim") == ["claim"]
    assert await refused(empty, since=claims, types="claim,source") == (400, "cursor-mismatch")
    narrow = former(here, FORMER_TYPES, FORMER_CLASSES["public"])
    assert await refused(empty, since=narrow) == (410, "resync-required")
    assert (await page(asking(empty, None), narrow))["items"]
    drafts = await reader(empty, empty_url, Scope.READ, Scope.DRAFTS_READ)
    assert await refused(drafts, since=narrow, types="source") == (410, "resync-required")


@pytest.fixture
def without_denials(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Write cursors as if there were no denials yet; undo it, and the type is added."""
    fewer = tuple(of for of in RecordType if of is not RecordType.DENIAL)
    monkeypatch.setattr(positions, "_TYPES", fewer)
    return monkeypatch


async def test_a_cursor_goes_on_when_a_type_is_added(
    empty: httpx.AsyncClient, without_denials: pytest.MonkeyPatch
) -> None:
    """Also one that named every type there was: it has missed nothing of the new one."""
    unnamed = await cursor_of(empty)
    named = await cursor_of(empty, types="source,article,claim")
    claims = await cursor_of(empty, types="claim")
    without_denials.undo()
    for noun in EVERY.values():
        await create(empty, noun)
    assert await types_behind(empty, unnamed) == list(EVERY)
    assert await types_behind(empty, named) == list(EVERY)
    assert await types_behind(empty, claims, types="claim,denial") == ["claim", "denial"]
    assert await types_behind(empty, claims, types="claim") == ["claim"]
    assert await refused(empty, since=claims) == (400, "cursor-mismatch")
    # From here on the type is known: a walk that leaves it out is told so.
    through = await cursor_of(empty, named, types="source,article,claim")
    assert await refused(empty, since=through) == (400, "cursor-mismatch")


async def test_whoever_may_not_read_the_new_type_goes_on_too(
    empty: httpx.AsyncClient, without_denials: pytest.MonkeyPatch
) -> None:
    nobody = asking(empty, None)
    before = await cursor_of(nobody)
    without_denials.undo()
    await create(empty, EVERY[RecordType.DENIAL])
    assert await walk(nobody, before) == []
    after = await cursor_of(nobody, before)
    assert await refused(empty, since=after, types="denial") == (410, "resync-required")


@pytest.mark.parametrize(
    "covered",
    [None, [], "claim", {"claim": 1}, {"claim": [None]}, {"claim": ["0"]}, {"claim": {"0": 1}}],
)
async def test_what_is_not_covered_types_is_no_cursor(
    client: httpx.AsyncClient, covered: object
) -> None:
    body = bytes.fromhex("1511f1e3fe42") + json.dumps(["x", 1, "", covered]).encode()
    check = blake2b(body, digest_size=6, person=b"cursor").digest()
    since = urlsafe_b64encode(check + body).decode().rstrip("=")
    assert await refused(client, since=since) == (400, "invalid-cursor")
