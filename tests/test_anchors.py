"""Spans are held to the article's text: one that does not stand there is refused, and told so."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.core.connection import LimitedConnection
from api.core.writing import look_up
from tests.conftest import swept
from tests.world import World, faults, span

# Code points: the wave, the flag's two letters and each part of the family count one each.
TEXT = "🌊🇰🇷👩‍👩‍👧 “At least 100” died, Lee said. Lee, an MP, said no more. Ünder é e\u0301."
PLURALS = ("claims", "denials")


WHOLE = look_up.MAX_TEXT_BYTES


@pytest.fixture(autouse=True, params=swept([WHOLE, 0], tried=[WHOLE]))
def text_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the texts with all else that is looked up, and then as if they were too large for it."""
    monkeypatch.setattr(look_up, "MAX_TEXT_BYTES", request.param)


@pytest.fixture
async def world(client: httpx.AsyncClient) -> World:
    world = World(client)
    await world.add("articles", "stored", text=TEXT)
    await world.add("articles", "unstored")
    return world


def printed(*spans: dict[str, Any], article: str = "@stored", **more: Any) -> dict[str, Any]:
    """Write the field of one appearance."""
    return {"appearances": [{"article_id": article, "spans": list(spans), **more}]}


async def refusal(world: World, *spans: dict[str, Any]) -> dict[str, str]:
    """Get spans refused; give what is said of each pointer."""
    response = await world.client.post("/v1/claims", json=world.body("claims", printed(*spans)))
    assert response.status_code == 422, response.text
    errors = response.json()["errors"]
    assert {error["code"] for error in errors} <= {"span-mismatch", "outside-text"}
    return {error["pointer"].removeprefix("/appearances/0"): error["detail"] for error in errors}


@pytest.mark.parametrize("plural", PLURALS)
async def test_an_appearance_has_its_defaults(world: World, plural: str) -> None:
    words = span(TEXT, "Lee")
    record = await world.add(plural, "r", **printed(words))
    assert record["appearances"] == [
        {
            "article_id": world.id("stored"),
            "article_version": 1,
            "quote_type": "indirect",
            "stance": "neutral",
            "quote_language": None,
            "translated": None,
            "spans": [{"role": "content", **words, "prefix": "", "suffix": ""}],
            "anchor": "exact",
        }
    ]


@pytest.mark.parametrize(
    "words",
    ["🌊", "🇰🇷", "👩‍👩‍👧", "At least 100", "“At least 100”", "Lee said.", "é", "e\u0301", TEXT],
)
async def test_offsets_count_code_points(world: World, words: str) -> None:
    claim = await world.add("claims", "c", **printed(span(TEXT, words)))
    assert claim["appearances"][0]["anchor"] == "exact"


async def test_offsets_in_bytes_or_utf_16_are_refused(world: World) -> None:
    words = "At least 100"
    start = TEXT.index(words)
    before = TEXT[:start]
    for units in (len(before.encode()), len(before.encode("utf-16-le")) // 2):
        wrong = {"start": units, "end": units + len(words), "exact": words}
        told = await refusal(world, wrong)
        assert f"{start} to {start + len(words)}" in told["/spans/0/exact"]


async def test_a_mismatch_says_what_stands_there_and_where_the_words_do(world: World) -> None:
    first, second = TEXT.index("Lee"), TEXT.rindex("Lee")
    wrong = {"start": first + 1, "end": first + 4, "exact": "Lee"}
    told = await refusal(world, span(TEXT, "died"), wrong)
    assert set(told) == {"/spans/1/exact"}
    assert TEXT[first + 1 : first + 4] in told["/spans/1/exact"]
    for start in (first, second):
        assert f"{start} to {start + 3}" in told["/spans/1/exact"]


async def test_words_that_stand_nowhere_are_said_to(world: World) -> None:
    told = await refusal(world, {"start": 0, "end": 6, "exact": "Moscow"})
    assert "nowhere" in told["/spans/0/exact"]
    # What looks the same is not the same.
    told = await refusal(world, span(TEXT, "e\u0301") | {"exact": "è "})
    assert "nowhere" in told["/spans/0/exact"]


async def test_only_so_many_places_are_named(client: httpx.AsyncClient) -> None:
    world = World(client)
    await world.add("articles", "stored", text="no " * 1000)
    told = await refusal(world, {"start": 1, "end": 3, "exact": "no"})
    assert len(told["/spans/0/exact"]) < 300
    assert "among others" in told["/spans/0/exact"]


async def test_offsets_outside_the_text_are_refused(world: World) -> None:
    length = len(TEXT)
    beyond = {"start": length - 1, "end": length + 1, "exact": ".."}
    far = {"start": 2**31 - 4, "end": 2**31 - 1, "exact": "Lee"}
    told = await refusal(world, beyond, far)
    assert set(told) == {"/spans/0/end", "/spans/1/end"}
    assert str(length) in told["/spans/0/end"]
    assert f"{TEXT.index('Lee')} to" in told["/spans/1/end"]


async def test_what_stands_around_a_span_is_checked_too(world: World) -> None:
    around = span(TEXT, "died", prefix="100” ", suffix=", Lee")
    claim = await world.add("claims", "c", **printed(around))
    assert claim["appearances"][0]["anchor"] == "exact"
    told = await refusal(world, around | {"prefix": "200” "}, around | {"suffix": ", Kim"})
    assert set(told) == {"/spans/0/prefix", "/spans/1/suffix"}
    assert "100” " in told["/spans/0/prefix"]
    assert ", Lee" in told["/spans/1/suffix"]


async def test_nothing_stands_before_a_text_or_behind_it(world: World) -> None:
    whole = span(TEXT, TEXT)
    await world.add("claims", "c", **printed(whole))
    told = await refusal(world, whole | {"prefix": "."}, whole | {"suffix": " "})
    assert set(told) == {"/spans/0/prefix", "/spans/1/suffix"}


async def test_offsets_and_words_have_one_length(world: World) -> None:
    for article in ("@stored", "@unstored"):
        wrong = [
            {"start": 0, "end": 5, "exact": "At l"},
            {"start": 5, "end": 5, "exact": "A"},
            {"start": 7, "end": 5, "exact": "At"},
        ]
        refused = await world.refused("claims", **printed(*wrong, article=article))
        pointers = [f"/appearances/0/spans/{index}/end" for index in range(3)]
        assert refused == dict.fromkeys(pointers, "span-length")


async def test_every_wrong_span_is_named(world: World) -> None:
    wrong = {"start": 3, "end": 6, "exact": "Kim"}
    right = span(TEXT, "Lee")
    body: dict[str, Any] = {
        "appearances": [
            {"article_id": "@stored", "spans": [right, wrong]},
            {"article_id": "@unstored", "spans": [wrong]},
            {"article_id": "@stored", "spans": [wrong, right, wrong]},
        ]
    }
    refused = await world.refused("denials", **body)
    pointers = [f"/appearances/{a}/spans/{s}/exact" for a, s in [(0, 1), (2, 0), (2, 2)]]
    assert refused == dict.fromkeys(pointers, "span-mismatch")


async def test_without_a_stored_text_nothing_can_be_verified(world: World) -> None:
    words = {"start": 5, "end": 8, "exact": "Lee"}
    claim = await world.add("claims", "c", **printed(words, article="@unstored"))
    assert claim["appearances"][0]["anchor"] == "unverified"
    assert claim["appearances"][0]["article_version"] == 1


async def test_the_texts_of_many_articles_are_read_some_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, articles = f"{'x' * 990} Lee said", [f"a{number}" for number in range(6)]
    for name in articles:
        await world.add("articles", name, text=text)
    await world.patch(articles[0], text=f"{text}.")
    versions = [1, *[None] * 6]
    right = [
        {"article_id": f"@{name}", "article_version": version, "spans": [span(text, "Lee")]}
        for name, version in zip([articles[0], *articles], versions, strict=True)
    ]
    wrong = {"spans": [{"start": 1, "end": 4, "exact": "Lee"}]}
    bodies = [
        world.body("claims", {"appearances": right}),
        world.body("claims", {"appearances": [each | wrong for each in right]}),
    ]
    lines = [
        {"type": record_type, "data": world.body(f"{record_type}s", {"appearances": each})}
        for record_type, each in (
            ("claim", right[:3]),
            ("denial", right[3:]),
            ("denial", [right[4] | wrong]),
        )
    ]

    async def told() -> list[Any]:
        made, refused = [await world.client.post("/v1/claims", json=body) for body in bodies]
        imported = await world.client.post(
            "/v1/import",
            params={"dry_run": "true"},
            content="\n".join(json.dumps(line) for line in lines),
            headers={"content-type": "application/x-ndjson"},
        )
        results = [json.loads(line) for line in imported.text.splitlines()]
        return [
            made.json()["appearances"],
            refused.json()["errors"],
            [(each.get("status"), (each.get("problem") or {}).get("errors")) for each in results],
        ]

    whole = await told()
    read: list[int] = []
    fetch = LimitedConnection.fetch

    async def counted(connection: LimitedConnection, *arguments: Any, **more: Any) -> Any:
        rows = await fetch(connection, *arguments, **more)
        read.append(sum(len(value) for row in rows for value in row if isinstance(value, str)))
        return rows

    monkeypatch.setattr(look_up, "MAX_TEXT_BYTES", 2_500)
    monkeypatch.setattr(LimitedConnection, "fetch", counted)
    assert await told() == whole
    assert [status for status, _ in whole[2]] == [201, 201, 422, None]
    assert 1_990 <= max(read) <= 3_100  # two texts, and one of an earlier version


# --- versions of the text --------------------------------------------------------------------


async def test_a_span_stands_in_the_text_of_its_version(world: World) -> None:
    await world.patch("stored", text=f"Corrected. {TEXT}")
    await world.patch("stored", text=None)
    old, new = span(TEXT, "Lee"), span(f"Corrected. {TEXT}", "Lee")
    right: list[dict[str, Any]] = [
        {"article_id": "@stored", "article_version": 1, "spans": [old]},
        {"article_id": "@stored", "article_version": 2, "spans": [new]},
        {"article_id": "@stored", "article_version": 3, "spans": [old]},
        {"article_id": "@stored", "spans": [new]},
    ]
    claim = await world.add("claims", "c", appearances=right)
    found = [(each["article_version"], each["anchor"]) for each in claim["appearances"]]
    assert found == [(1, "exact"), (2, "exact"), (3, "unverified"), (3, "unverified")]
    wrong = [right[0] | {"spans": [new]}, right[1] | {"spans": [old]}]
    refused = await world.refused("claims", appearances=wrong)
    pointers = [f"/appearances/{index}/spans/0/exact" for index in range(2)]
    assert refused == dict.fromkeys(pointers, "span-mismatch")


async def test_a_version_that_is_not_there_is_a_reference_to_nothing(world: World) -> None:
    refused = await world.refused("claims", **printed(article_version=2))
    assert refused == {"/appearances/0/article_version": "unknown-reference"}
    # Nor is there a text in the version of a deletion.
    await world.delete("stored")
    response = await world.client.post(f"{world.at('stored')}/restore", headers={"if-match": "*"})
    assert response.json()["version"] == 3
    refused = await world.refused("claims", **printed(article_version=2))
    assert refused == {"/appearances/0/article_version": "unknown-reference"}
    await world.add("claims", "c", **printed(span(TEXT, "Lee"), article_version=3))


async def test_an_anchor_is_not_something_that_a_client_sets(world: World) -> None:
    words = span(TEXT, "Lee")
    for anchor in ("relocated", "orphaned", "unverified"):
        refused = await world.refused("claims", **printed(words, anchor=anchor))
        assert refused == {"/appearances/0/anchor": "read-only"}
    # It may say what is so.
    await world.add("claims", "c", **printed(words, anchor="exact"))


@pytest.mark.parametrize("plural", PLURALS)
async def test_a_replace_keeps_what_the_server_filled_in(world: World, plural: str) -> None:
    body = world.body(plural, {**printed(span(TEXT, "Lee")), "tags": [world.tag]})
    record = await world.add(plural, "r", **printed(span(TEXT, "Lee")))
    # The article has a new version, whose text is the same.
    await world.patch("stored", headline="Another headline")
    assert (await world.put("r", body)).json() == record
    # Another appearance beside it is of the article as it is now.
    body["appearances"].insert(0, {"article_id": "@stored", "spans": [span(TEXT, "MP")]})
    changed = (await world.put("r", body)).json()
    assert changed["version"] == 2
    found = [(each["article_version"], each["anchor"]) for each in changed["appearances"]]
    assert found == [(2, "exact"), (1, "exact")]


@pytest.mark.parametrize("plural", PLURALS)
async def test_a_replace_keeps_an_anchor_that_was_lost(world: World, plural: str) -> None:
    body = world.body(plural, {**printed(span(TEXT, "Lee")), "tags": [world.tag]})
    await world.add(plural, "r", **printed(span(TEXT, "Lee")))
    await world.patch("stored", text="All new.")
    lost = await world.get("r")
    assert lost["appearances"][0]["anchor"] == "orphaned"
    assert lost["appearances"][0]["article_version"] == 1
    assert (await world.put("r", body)).json() == lost
    # Once it says something else, it is held to the text as it is now.
    body["appearances"][0]["spans"] = [span(TEXT, "said")]
    refused = faults(await world.put("r", body))
    assert refused == {"/appearances/0/spans/0/end": "outside-text"}


async def test_a_patch_of_something_else_leaves_the_anchors(world: World) -> None:
    claim = await world.add("claims", "c", **printed(span(TEXT, "Lee")))
    await world.patch("stored", headline="Another headline")
    changed = await world.patch("c", note="still to be looked at")
    assert changed["appearances"] == claim["appearances"]


async def test_an_anchor_that_was_lost_is_not_found_where_other_words_stand(world: World) -> None:
    await world.add("claims", "c", **printed(span(TEXT, "Lee", suffix=" said")))
    await world.patch("stored", text=TEXT.replace("Lee", "Kim"))
    assert (await world.get("c"))["appearances"][0]["anchor"] == "orphaned"
    # What has changed lies behind the span, whose words are still not there.
    await world.patch("stored", text=TEXT.replace("Lee", "Kim") + " More soon.")
    assert (await world.get("c"))["appearances"][0]["anchor"] == "orphaned"
    # When they are there again, so is the anchor.
    await world.patch("stored", text=TEXT)
    found = (await world.get("c"))["appearances"][0]
    assert found["anchor"] in {"exact", "relocated"}
    assert found["article_version"] == 4


async def test_a_claim_read_can_be_sent_back(world: World) -> None:
    claim = await world.add("claims", "c", **printed(span(TEXT, "Lee"), stance="distancing"))
    assert (await world.put("c", claim)).json() == claim


async def test_an_appearance_in_an_article_that_is_not_there_is_refused(world: World) -> None:
    words = span(TEXT, "Lee")
    refused = await world.refused("claims", **printed(words, article=str(uuid4())))
    assert refused == {"/appearances/0/article_id": "unknown-reference"}


async def test_an_article_is_not_deleted_while_something_appears_in_it(world: World) -> None:
    await world.add("claims", "c", **printed(span(TEXT, "Lee")))
    response = await world.delete("stored")
    assert response.status_code == 409
    assert response.json()["referrers"] == [
        {"type": "claim", "id": world.id("c"), "link": "appearance"}
    ]
