"""Responses: the exchange about a claim or a denial."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.access import keyring
from api.questions import responses
from api.questions import thread as thread_of
from api.questions.thread import Entry, depths_of, responses_of
from schemas.vocabularies import Scope
from tests.conftest import allow, bearer
from tests.world import World

READER = keyring.written("threadreader", "0" * 30)


@pytest.fixture
def world(client: httpx.AsyncClient) -> World:
    return World(client)


async def thread(world: World, path: str, **headers: str) -> dict[str, Any]:
    """Ask for responses; give the answer with the world's names in the place of ids."""
    response = await world.client.get(path, headers=headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = world.named(response.json())
    return found


async def exchange(world: World) -> None:
    """Record a claim, a denial, its denial by the claimant, a softer answer, and silence."""
    for name in ("army", "ministry", "embassy"):
        await world.add("sources", name)
    await world.add("claims", "c", review_status="published")

    async def respond(
        name: str, source: str, day: int, target: dict[str, str], **more: Any
    ) -> None:
        await world.add(
            "denials",
            name,
            attributions=[{"source_id": f"@{source}"}],
            stated={"earliest": f"2024-12-{day}", "precision": "day"},
            targets=[target],
            review_status="published",
            **more,
        )

    of_claim = {"claim_id": "@c"}
    await respond("last", "ministry", 20, of_claim, kind="declined_to_comment")
    await respond("silent", "embassy", 11, of_claim, kind="did_not_respond")
    await respond("first", "ministry", 10, of_claim, validity="softened")
    await respond("reply", "army", 12, {"denial_id": "@first"}, kind="counter_accusation")
    await respond("reply to it", "ministry", 13, {"denial_id": "@reply"})


async def test_the_whole_exchange_comes_in_order(world: World) -> None:
    await exchange(world)
    found = await thread(world, f"{world.at('c')}/responses")
    assert found == {
        "responders": [
            {
                "source_id": "ministry",
                "latest": "last",
                "history": ["first", "reply to it", "last"],
            },
            {"source_id": "army", "latest": "reply", "history": ["reply"]},
        ],
        "thread": [
            {"denial_id": "first", "answers": ["c"], "depth": 1, "standing": False},
            {"denial_id": "reply", "answers": ["first"], "depth": 2, "standing": True},
            {"denial_id": "reply to it", "answers": ["reply"], "depth": 3, "standing": True},
            {"denial_id": "last", "answers": ["c"], "depth": 1, "standing": True},
        ],
        "asked_without_answer": ["silent"],
        "circular": [],
        "included": {},
        "truncated": [],
    }


async def test_a_denial_has_responses_too(world: World) -> None:
    await exchange(world)
    found = await thread(world, f"{world.at('first')}/responses")
    depths = {each["denial_id"]: each["depth"] for each in found["thread"]}
    assert depths == {"reply": 1, "reply to it": 2}


async def test_related_records_come_along(world: World) -> None:
    await exchange(world)
    names = "sources,denials,claims"
    found = await thread(world, f"{world.at('c')}/responses?expand={names}")
    assert {name: set(records) for name, records in found["included"].items()} == {
        "sources": {"army", "ministry", "embassy"},
        "denials": {"first", "last", "silent", "reply", "reply to it"},
        "claims": {"c"},
    }
    assert found["included"]["denials"]["silent"]["kind"] == "did_not_respond"
    assert found["truncated"] == []


async def test_a_hidden_response_is_not_there_nor_what_answers_it(
    world: World, database_url: str
) -> None:
    await exchange(world)
    await world.patch("reply", review_status="draft")
    reader = bearer(await allow(database_url, key=READER, scopes=(Scope.READ,)))
    found = await thread(world, f"{world.at('c')}/responses?expand=denials", **reader)
    assert [each["denial_id"] for each in found["thread"]] == ["first", "last"]
    assert set(found["included"]["denials"]) == {"first", "last", "silent"}
    await world.patch("c", review_status="draft")
    response = await world.client.get(f"{world.at('c')}/responses", headers=reader)
    assert response.status_code == 404


async def test_one_response_may_answer_several(world: World) -> None:
    await exchange(world)
    both = [{"claim_id": "@c"}, {"denial_id": "@first"}, {"text": "all the rest"}]
    await world.add("denials", "both", targets=both)
    found = await thread(world, f"{world.at('c')}/responses")
    (entry,) = [each for each in found["thread"] if each["denial_id"] == "both"]
    assert (sorted(entry["answers"]), entry["depth"]) == (["c", "first"], 1)


async def test_a_thread_that_is_too_long_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await exchange(world)
    monkeypatch.setattr(thread_of, "MAX_DEPTH", 2)
    found = await thread(world, f"{world.at('c')}/responses")
    assert [each["denial_id"] for each in found["thread"]] == ["first", "reply", "last"]
    assert found["truncated"] == [{"id": "c", "relation": "responses"}]
    monkeypatch.setattr(thread_of, "MAX_DEPTH", 50)
    monkeypatch.setattr(responses, "MAX_THREAD", 1)
    found = await thread(world, f"{world.at('c')}/responses")
    assert len(found["thread"]) + len(found["asked_without_answer"]) == 1
    assert found["truncated"] == [{"id": "c", "relation": "responses"}]


async def test_what_lies_nearest_is_kept_however_late_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.add("claims", "c")
    await world.add("denials", "undated", targets=[{"claim_id": "@c"}])
    dated = {"targets": [{"denial_id": "@undated"}], "stated": {"earliest": "2024-12-10"}}
    for number in range(3):
        await world.add("denials", f"reply {number}", **dated)
    monkeypatch.setattr(responses, "MAX_THREAD", 2)
    found = await thread(world, f"{world.at('c')}/responses")
    assert [each["depth"] for each in found["thread"]] == [2, 1]
    assert found["truncated"] == [{"id": "c", "relation": "responses"}]


async def test_a_thread_has_room_for_so_many_bytes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 1,000 responses may answer all the others, and have hundreds of responders."""
    await world.add("claims", "c")
    for number in range(4):
        others = [{"denial_id": f"@d{other}"} for other in range(number)]
        await world.add("denials", f"d{number}", targets=[{"claim_id": "@c"}, *others])
    of_two = 2 * responses._OF_RESPONSE + 3 * responses._OF_TARGET  # noqa: SLF001
    monkeypatch.setattr(responses, "MAX_THREAD_BYTES", of_two)
    found = await thread(world, f"{world.at('c')}/responses")
    assert sum(1 + len(each["answers"]) for each in found["thread"]) <= 5
    assert found["truncated"] == [{"id": "c", "relation": "responses"}]
    monkeypatch.undo()
    assert len((await thread(world, f"{world.at('c')}/responses"))["thread"]) == 4


async def test_what_is_not_there_has_no_responses(world: World) -> None:
    await world.add("denials", "d")
    path = f"{world.at('d')}/responses"
    await world.delete("d")
    for gone in (path, f"/v1/claims/{uuid4()}/responses", "/v1/claims/x/responses"):
        assert (await world.client.get(gone)).status_code == 404
    response = await world.client.get(f"/v1/claims/{uuid4()}/responses?expand=figures")
    assert response.status_code == 400


# --- circles, which older records may have ---------------------------------------------------


def row(name: int, *targets: int) -> Any:
    return Entry(UUID(int=name), "denies", "standing", [UUID(int=t) for t in targets], [])


def test_circles_are_named_and_end() -> None:
    root = UUID(int=0)
    rows = [row(1, 0, 3), row(2, 1), row(3, 2), row(4, 3), row(5, 0), row(6, 6, 0)]
    depths = depths_of(root, rows)
    assert responses_of(root, rows, depths).circular == [
        str(UUID(int=each)) for each in (1, 2, 3, 6)
    ]
    assert depths == {
        UUID(int=name): depth for name, depth in ((1, 1), (5, 1), (6, 1), (2, 2), (3, 3), (4, 4))
    }
