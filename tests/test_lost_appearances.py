"""The queue of lost appearances: what is suggested for each, and how they are attached again."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api import demo
from api.access import keyring
from api.core import cursor
from api.core.anchors import MAX_SEARCHES
from api.questions import anchors, suggestions
from schemas.vocabularies import Scope
from tests.conftest import allow, bearer
from tests.world import MERGE_PATCH, World, faults, span

Record = dict[str, Any]
CURLY = "\u2018\u2019\u201c\u201d"
STRAIGHT = str.maketrans(CURLY, "''\"\"")
READER = keyring.written("anchorreader", "0" * 30)
FOR_CLAIMS = keyring.written("anchorclaims", "0" * 30)
NOBODY = "01938f7a-4c00-7000-8000-0000000000ff"
REPORT = "TEST_REPORT"
OLD = "Lee said “one hundred” died. Kim counted ten of them in all."
NEW = "Lee said 'one hundred' died. Kim counted two of them in all."


@pytest.fixture
def world(client: httpx.AsyncClient) -> World:
    return World(client)


async def queue(client: httpx.AsyncClient, article: str, **query: Any) -> list[Record]:
    """Read the whole queue of an article, page by page."""
    items: list[Record] = []
    parameters: dict[str, Any] = dict(query)
    while True:
        answer = await client.get(f"/v1/articles/{article}/anchors", params=parameters)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        parameters["cursor"] = page["next_cursor"]


def mended(item: Record) -> Record:
    """Take the first suggestion for each span."""
    return {
        "record": item["record"],
        "appearance": item["appearance"],
        "if_match": f'"v{item["version"]}"',
        "spans": [
            {"role": each["role"]}
            | {
                name: each["suggestions"][0][name]
                for name in ("start", "end", "exact", "prefix", "suffix")
            }
            for each in item["spans"]
        ],
    }


async def attach(
    client: httpx.AsyncClient, article: str, items: list[Record], /, **more: Any
) -> httpx.Response:
    path = f"/v1/articles/{article}/anchors"
    return await client.post(path, json=items, **more)


async def load(client: httpx.AsyncClient, lines: list[bytes]) -> str:
    """Import records; give the id of the article among them that has a text."""
    headers = {"content-type": "application/x-ndjson"}
    answer = await client.post("/v1/import?atomic=true", content=b"\n".join(lines), headers=headers)
    assert json.loads(answer.text.splitlines()[-1])["committed"], answer.text
    records = map(json.loads, lines)
    found: str = next(r["id"] for r in records if r["type"] == "article" and r["data"].get("text"))
    return found


async def printed(client: httpx.AsyncClient, article: str) -> dict[tuple[str, int], Record]:
    """Give every appearance in an article, by its record and its place there."""
    found = {}
    for plural in ("claims", "denials"):
        answer = await client.get(f"/v1/{plural}", params={"article_id": article, "limit": 200})
        for record in answer.json()["items"]:
            for place, each in enumerate(record["appearances"]):
                if each["article_id"] == article:
                    found[record["id"], place] = each
    return found


def places(appearances: dict[tuple[str, int], Record]) -> list[tuple[int, int, str]]:
    """Give the offsets and the words of all spans."""
    spans = [each for _, one in sorted(appearances.items()) for each in one["spans"]]
    return [(each["start"], each["end"], each["exact"]) for each in spans]


async def retype(client: httpx.AsyncClient, article: str, text: str) -> None:
    path = f"/v1/articles/{article}"
    answer = await client.patch(path, json={"text": text, "zones": []}, headers=MERGE_PATCH)
    assert answer.status_code == 200, answer.text


async def text_of(client: httpx.AsyncClient, article: str) -> str:
    found: str = (await client.get(f"/v1/articles/{article}")).json()["text"]
    return found


# --- a whole report, before and after ------------------------------------------------------------


async def straighten_and_mend(client: httpx.AsyncClient, article: str) -> int:
    """Straighten the quotes of an article, then mend all that is lost with one request."""
    before = await printed(client, article)
    text = await text_of(client, article)
    await retype(client, article, text.translate(STRAIGHT))
    after = await printed(client, article)
    assert places(after) == places(before), "nothing is moved"

    items = await queue(client, article)
    lost_ones = {place for place, each in after.items() if each["anchor"] == "orphaned"}
    assert {(item["record"]["id"], item["appearance"]) for item in items} == lost_ones
    for item in items:
        for each in item["spans"]:
            best = each["suggestions"][0]
            assert (best["start"], best["end"]) == (each["start"], each["end"])
            assert best["exact"] == each["exact"].translate(STRAIGHT)
            assert best["score"] == 1
            assert best["why"] == "typography" or best["exact"] == each["exact"]

    answer = await attach(client, article, [mended(item) for item in items])
    assert answer.status_code == 200, answer.text
    assert answer.json()["attached"] == len(items)
    assert answer.json()["committed"]
    assert await queue(client, article) == []
    for place, each in (await printed(client, article)).items():
        assert each["anchor"] in ("exact", "relocated"), place
        assert await text_of(client, article) == text.translate(STRAIGHT)
    return len(items)


async def change_a_figure(client: httpx.AsyncClient, article: str, old: str, new: str) -> Record:
    """Change a figure in the text; give the one appearance that is lost."""
    text = await text_of(client, article)
    await retype(client, article, text.replace(old, new, 1))
    items = await queue(client, article)
    for item in items:
        for each in item["spans"]:
            best = each["suggestions"][0]
            assert best["exact"] == each["exact"].replace(old, new)
            assert best["start"] == each["start"]
            changed = best["exact"] != each["exact"]
            assert (best["why"] == "similar") == changed
    (item,) = items
    return item


async def test_the_quotes_of_the_demo_are_straightened(empty: httpx.AsyncClient) -> None:
    article = await load(empty, list(demo.records()))
    assert await straighten_and_mend(empty, article) > 0


async def test_a_figure_of_the_demo_is_changed(empty: httpx.AsyncClient) -> None:
    article = await load(empty, list(demo.records()))
    item = await change_a_figure(empty, article, "At least 100", "At least 200")
    assert item["anchor"] == "orphaned"


async def cut_and_restore(
    client: httpx.AsyncClient, article: str, start: int, end: int
) -> Counter[str]:
    """Cut a part of the text that no span is in, and put it back; count the anchors between."""
    text = await text_of(client, article)
    await retype(client, article, text[:start] + text[end:])
    assert await queue(client, article) == []
    anchors = Counter(
        each["anchor"] for each in (await printed(client, article)).values() for _ in each["spans"]
    )
    await retype(client, article, text)
    return anchors


async def test_a_paragraph_of_the_demo_is_cut(empty: httpx.AsyncClient) -> None:
    article = await load(empty, list(demo.records()))
    text = await text_of(empty, article)
    start = text.index("🌊")
    anchors = await cut_and_restore(empty, article, start, text.index("\n", start) + 1)
    assert anchors.keys() == {"exact", "relocated"}


def report() -> list[bytes]:
    return Path(os.environ[REPORT]).read_bytes().splitlines()


@pytest.mark.outside
@pytest.mark.skipif(REPORT not in os.environ, reason="no report is named")
async def test_a_real_report_is_edited(empty: httpx.AsyncClient) -> None:
    """Do all of that to a report whose text may not be copied: export lines, in a file."""
    article = await load(empty, report())
    assert await cut_and_restore(empty, article, 288, 288 + 931) == {"relocated": 72, "exact": 7}
    text = await text_of(empty, article)
    item = await change_a_figure(empty, article, "at least 100", "at least 200")
    assert item["anchor"] == "orphaned"
    await retype(empty, article, text)
    assert await straighten_and_mend(empty, article) > 0


# --- the queue -----------------------------------------------------------------------------------


async def two_lost(world: World) -> str:
    """Lose a claim and a denial of an article; give its id."""
    await world.add("articles", "a", text=OLD)
    await world.add(
        "claims", "c", appearances=[{"article_id": "@a", "spans": [span(OLD, "“one hundred”")]}]
    )
    await world.add(
        "denials", "d", appearances=[{"article_id": "@a", "spans": [span(OLD, "counted ten")]}]
    )
    await world.patch("a", text=NEW)
    return world.id("a")


async def test_a_queue_has_what_was_lost_with_its_words(world: World) -> None:
    items = world.named(await queue(world.client, await two_lost(world)))
    claim, denial = items
    assert claim == {
        "record": {"type": "claim", "id": "c"},
        "version": 2,
        "appearance": 0,
        "anchor": "orphaned",
        "article_version": 1,
        "truncated": False,
        "spans": [
            {
                "role": "content",
                **span(OLD, "“one hundred”", prefix="", suffix=""),
                "suggestions": [
                    {
                        **span(NEW, "'one hundred'", prefix="", suffix=""),
                        "score": claim["spans"][0]["suggestions"][0]["score"],
                        "why": "typography",
                    }
                ],
            }
        ],
    }
    assert denial["record"] == {"type": "denial", "id": "d"}
    (best,) = denial["spans"][0]["suggestions"]
    assert (best["exact"], best["why"]) == ("counted two", "similar")
    assert 0.5 < best["score"] < 1


async def test_a_suggestion_has_as_much_around_it_as_the_span(world: World) -> None:
    await world.add("articles", "a", text=OLD)
    words = span(OLD, "counted ten", prefix="Kim ", suffix=" of")
    await world.add("claims", "c", appearances=[{"article_id": "@a", "spans": [words]}])
    await world.patch("a", text=f"So {NEW}")
    ((item),) = await queue(world.client, world.id("a"))
    (best,) = item["spans"][0]["suggestions"]
    assert (best["prefix"], best["exact"], best["suffix"]) == ("Kim ", "counted two", " of")


async def test_a_queue_is_read_in_pages(world: World) -> None:
    article = await two_lost(world)
    for number in range(3):
        spans = [span(NEW, "two"), span(NEW, "Lee")]
        appearances = [{"article_id": "@a", "spans": [each]} for each in spans]
        await world.add("claims", f"more {number}", appearances=appearances)
    await world.patch("a", text="Nothing is left.")
    whole = await queue(world.client, article)
    assert [each["record"]["type"] for each in whole] == ["claim"] * 7 + ["denial"]
    for limit in (1, 2, 3):
        assert await queue(world.client, article, limit=limit) == whole

    first = await world.client.get(f"/v1/articles/{article}/anchors", params={"limit": 1})
    assert first.headers["link"].endswith('rel="next"')
    query = {"cursor": first.json()["next_cursor"], "anchor": "orphaned"}
    other = await world.client.get(f"/v1/articles/{article}/anchors", params=query)
    assert (other.status_code, other.json()["code"]) == (400, "cursor-mismatch")


async def test_a_queue_is_of_the_anchors_that_are_asked_for(world: World) -> None:
    article = await two_lost(world)
    assert len(await queue(world.client, article, anchor="orphaned")) == 2
    assert await queue(world.client, article, anchor="ambiguous") == []
    assert await queue(world.client, article, anchor="unverified") == []
    await world.patch("a", text=None)
    assert await queue(world.client, article) == []
    unverified = await queue(world.client, article, anchor="unverified")
    assert [each["spans"][0]["suggestions"] for each in unverified] == [[], []]


async def test_ambiguous_words_are_suggested_at_each_place(world: World) -> None:
    text = "They left. Then they stayed."
    await world.add("articles", "a", text=text)
    await world.add(
        "claims", "c", appearances=[{"article_id": "@a", "spans": [span(text, "They left.")]}]
    )
    await world.patch("a", text=f"So {text} {text} {text}")
    (item,) = await queue(world.client, world.id("a"))
    assert item["anchor"] == "ambiguous"
    found = item["spans"][0]["suggestions"]
    assert {each["why"] for each in found} == {"one_of_several"}
    assert sorted(each["start"] for each in found) == [3, 32, 61]

    kept = mended(item) | {"spans": [{"start": 32, "end": 42, "exact": "They left."}]}
    answer = await attach(world.client, world.id("a"), [kept])
    assert answer.json()["items"][0]["changed"], "an editor may choose"
    (printed_there,) = (await world.get("c"))["appearances"]
    assert (printed_there["anchor"], printed_there["article_version"]) == ("exact", 2)


async def test_a_queue_names_nothing_hidden(world: World, database_url: str) -> None:
    await allow(database_url, READER, [Scope.READ])
    article = await two_lost(world)
    reader = bearer(READER)
    path = f"/v1/articles/{article}/anchors"
    assert (await world.client.get(path, headers=reader)).json()["items"] == []
    await world.patch("d", review_status="published")
    (item,) = (await world.client.get(path, headers=reader)).json()["items"]
    assert item["record"] == {"type": "denial", "id": world.id("d")}
    await world.patch("a", status="withheld")
    assert (await world.client.get(path, headers=reader)).status_code == 404
    assert (await world.client.get(f"/v1/articles/{uuid4()}/anchors")).status_code == 404
    assert len(await queue(world.client, article)) == 2


async def test_a_page_ends_when_its_steps_are_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    article = await two_lost(world)
    whole = await queue(world.client, article)
    monkeypatch.setattr(suggestions, "MAX_STEPS", 1)
    page = (await world.client.get(f"/v1/articles/{article}/anchors")).json()
    assert len(page["items"]) == 1
    assert page["items"][0]["truncated"]
    assert [each["record"] for each in await queue(world.client, article)] == [
        each["record"] for each in whole
    ]


# --- attaching many at once ----------------------------------------------------------------------


def at(record_type: str, name: str, *spans: Record, **more: Any) -> Record:
    """Name an appearance and its new spans."""
    record = {"type": record_type, "id": f"@{name}"}
    return {"record": record, "appearance": 0, "spans": list(spans), **more}


async def test_one_fault_leaves_everything_as_it_is(world: World) -> None:
    article = await two_lost(world)
    good = at("claim", "c", span(NEW, "'one hundred'"))
    bad = at("denial", "d", span(OLD, "counted ten"), if_match='"v1"')
    nobody = at("claim", "c", span(NEW, "Lee")) | {"record": {"type": "claim", "id": str(uuid4())}}
    items = world.resolved([good, bad, nobody])
    answer = await attach(world.client, article, items)
    assert faults(answer) == {
        "/1/if_match": "other-version",
        "/1/spans/0/exact": "span-mismatch",
        "/2/record/id": "unknown-reference",
    }
    del items[1]["if_match"]
    answer = await attach(world.client, article, items[:2])
    assert faults(answer) == {"/1/spans/0/exact": "span-mismatch"}
    assert len(await queue(world.client, article)) == 2
    assert (await world.get("c"))["version"] == 2

    partly = await attach(world.client, article, items, params={"atomic": "false"})
    found = world.named(partly.json())
    assert (found["attached"], found["refused"], found["committed"]) == (1, 2, True)
    assert [each["status"] for each in found["items"]] == [200, 422, 422]
    assert found["items"][0] | {"problem": None} == {
        "record": {"type": "claim", "id": "c"},
        "appearance": 0,
        "status": 200,
        "version": 3,
        "changed": True,
        "problem": None,
    }
    (error,) = found["items"][1]["problem"]["errors"]
    assert error["pointer"] == "/1/spans/0/exact"
    (item,) = await queue(world.client, article)
    assert item["record"]["type"] == "denial"


async def test_a_dry_run_keeps_nothing(world: World) -> None:
    article = await two_lost(world)
    items = world.resolved([at("claim", "c", span(NEW, "'one hundred'"))])
    answer = await attach(world.client, article, items, params={"dry_run": "true"})
    found = answer.json()
    assert (found["attached"], found["dry_run"], found["committed"]) == (1, True, False)
    assert (await world.get("c"))["version"] == 2
    assert len(await queue(world.client, article)) == 2


async def test_what_names_no_appearance_is_refused(world: World) -> None:
    article = await two_lost(world)
    await world.add("articles", "b", text=NEW)
    await world.patch("c", appearances=[{"article_id": "@b", "spans": [span(NEW, "Lee")]}])
    there = at("claim", "c", span(NEW, "Lee"))
    items = world.resolved([there, there | {"appearance": 7}])
    assert faults(await attach(world.client, article, items)) == {
        "/0/appearance": "invalid-value",
        "/1/appearance": "invalid-value",
    }
    twice = world.resolved([there, there])
    assert faults(await attach(world.client, article, twice)) == {
        "/0/appearance": "invalid-value",
        "/1": "duplicate-item",
    }
    source = world.resolved([there | {"record": {"type": "source", "id": "@c"}}])
    assert faults(await attach(world.client, article, source)) == {"/0/record/type": "not-allowed"}
    assert faults(await attach(world.client, article, [])) == {"": "invalid-value"}


async def test_appearances_of_one_record_make_one_version(world: World) -> None:
    await world.add("articles", "a", text=OLD)
    appearances = [
        {"article_id": "@a", "spans": [span(OLD, words)]} for words in ("“one hundred”", "ten")
    ]
    before = await world.add("claims", "c", appearances=appearances, review_status="published")
    await world.patch("a", text=NEW)
    items = [mended(each) for each in await queue(world.client, world.id("a"))]
    since = (await world.client.get("/v1/changes?since=now")).json()["next_cursor"]
    answer = await attach(world.client, world.id("a"), items)
    results = answer.json()["items"]
    assert [each["version"] for each in results] == [before["version"] + 2] * 2
    revisions = (await world.client.get(f"{world.at('c')}/revisions")).json()["items"]
    assert revisions[0]["changed"] == ["appearances"]
    assert len(revisions) == 3
    changes = (await world.client.get("/v1/changes", params={"since": since})).json()["items"]
    assert [(each["op"], each["id"], each["version"]) for each in changes] == [
        ("updated", world.id("c"), before["version"] + 2)
    ]
    again = await attach(
        world.client, world.id("a"), world.resolved([{**each, "if_match": "*"} for each in items])
    )
    assert [each["changed"] for each in again.json()["items"]] == [False, False]


async def test_the_same_request_attaches_once(world: World) -> None:
    article = await two_lost(world)
    items = world.resolved([at("claim", "c", span(NEW, "'one hundred'"), if_match='"v2"')])
    headers = {"idempotency-key": uuid4().hex}
    first = await attach(world.client, article, items, headers=headers)
    again = await attach(world.client, article, items, headers=headers)
    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    bad = world.resolved([at("denial", "d", span(OLD, "counted ten"))])
    headers = {"idempotency-key": uuid4().hex}
    for _ in range(2):  # no refusal is kept
        answer = await attach(world.client, article, bad, headers=headers)
        assert "idempotency-replayed" not in answer.headers
        assert answer.status_code == 422


async def test_it_takes_a_key_that_may_write_both(world: World, database_url: str) -> None:
    await allow(database_url, FOR_CLAIMS, [Scope.READ, Scope.CLAIMS_WRITE])
    article = await two_lost(world)
    items = world.resolved([at("claim", "c", span(NEW, "'one hundred'"))])
    answer = await attach(world.client, article, items, headers=bearer(FOR_CLAIMS))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_what_the_writer_does_not_see_is_unknown(world: World, database_url: str) -> None:
    """The article is public, and a claim is hidden with another article that prints it."""
    key = keyring.written("anchorwriter", "0" * 30)
    await allow(database_url, key, [Scope.READ, Scope.CLAIMS_WRITE, Scope.DENIALS_WRITE])
    await world.add("articles", "a", text=OLD)
    await world.add("articles", "hidden", text=OLD, status="withheld")
    spans = [span(OLD, "“one hundred”")]
    appearances = [{"article_id": name, "spans": spans} for name in ("@a", "@hidden")]
    await world.add("claims", "c", appearances=appearances, review_status="published")
    await world.patch("a", text=NEW)
    items = world.resolved([at("claim", "c", span(NEW, "'one hundred'"))])
    answer = await attach(world.client, world.id("a"), items, headers=bearer(key))
    assert faults(answer) == {"/0/record/id": "unknown-reference"}
    hidden = await attach(world.client, world.id("hidden"), items, headers=bearer(key))
    assert hidden.status_code == 404


async def test_no_record_becomes_too_large(world: World) -> None:
    """Each request has a small body, but together they would make a record of any size."""
    text = "x" * 20_000
    await world.add("articles", "a", text=text)
    words = [{"start": 0, "end": len(text), "exact": text}]
    appearances = [{"article_id": "@a", "spans": []} for _ in range(60)]
    await world.add("claims", "c", appearances=appearances)
    record = {"type": "claim", "id": world.id("c")}
    refused = 0
    for first in (0, 30):
        items = [
            {"record": record, "appearance": place, "spans": words}
            for place in range(first, first + 30)
        ]
        answer = await attach(world.client, world.id("a"), items)
        refused += answer.status_code == 422
    assert refused == 1
    assert set(faults(answer).values()) == {"invalid-value"}


async def test_problems_of_many_appearances_are_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchors, "MAX_ERRORS", 5)
    await world.add("articles", "a", text=OLD)
    appearances = [{"article_id": "@a", "spans": []} for _ in range(4)]
    await world.add("claims", "c", appearances=appearances)
    record = {"type": "claim", "id": world.id("c")}
    wrong = [{"start": 0, "end": 1, "exact": "x"}] * 3
    items = [{"record": record, "appearance": place, "spans": wrong} for place in range(4)]
    query = {"atomic": "false"}
    found = (await attach(world.client, world.id("a"), items, params=query)).json()
    assert [len(each["problem"]["errors"]) for each in found["items"]] == [3, 2, 1, 1]
    assert (found["attached"], found["committed"]) == (0, False)


async def test_words_are_looked_for_a_few_times_in_a_request(world: World) -> None:
    """A refused span tells where its words stand; the texts may be long, and the spans many."""
    await world.add("articles", "a", text=OLD)
    items = []
    for number in range(30):
        await world.add("claims", f"c{number}", appearances=[{"article_id": "@a", "spans": []}])
        items.append(at("claim", f"c{number}", span(OLD, "Kim", end=6, start=3)))
    answer = await attach(world.client, world.id("a"), world.resolved(items))
    errors = answer.json()["errors"]
    assert len(errors) == 30
    assert sum("stands at" in each["detail"] for each in errors) == MAX_SEARCHES


async def test_an_article_without_a_text_takes_any_words(world: World) -> None:
    article = await two_lost(world)
    await world.patch("a", text=None)
    items = world.resolved([at("claim", "c", span(NEW, "'one hundred'"))])
    assert (await attach(world.client, article, items)).json()["attached"] == 1
    (there,) = (await world.get("c"))["appearances"]
    assert (there["anchor"], there["article_version"]) == ("unverified", 3)


async def test_a_cursor_that_was_forged_finds_nothing_new(world: World) -> None:
    article = await two_lost(world)
    of_list = cursor.fingerprint("anchors", article, ["ambiguous", "orphaned"])
    for values in (["claim", NOBODY, 2**40], ["claim", "x", 0], ["planet", NOBODY, 0], []):
        query = {"cursor": cursor.write(of_list, values)}
        answer = await world.client.get(f"/v1/articles/{article}/anchors", params=query)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-cursor")
