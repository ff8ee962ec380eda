"""When an article's text changes, what is printed in it follows (hard case 8)."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from api.records.reanchoring import follow
from schemas.parts import Appearance, Span
from schemas.vocabularies import Anchor

OLD = "🌊 Lee said one hundred died. Kim said one hundred left."
ARTICLE = "00000000-0000-4000-8000-000000000001"


def appearance(text: str, exact: str, nth: int = 0, *, context: int = 0) -> Appearance:
    start = -1
    for _ in range(nth + 1):
        start = text.index(exact, start + 1)
    end = start + len(exact)
    prefix, suffix = text[max(start - context, 0) : start], text[end : end + context]
    span = Span(start=start, end=end, exact=exact, prefix=prefix, suffix=suffix)
    return Appearance(article_id=ARTICLE, article_version=1, spans=[span], anchor=Anchor.EXACT)


@pytest.mark.parametrize("context", [0, 5])
@pytest.mark.parametrize(
    ("new", "nth", "anchor", "start"),
    [
        (OLD + " More.", 1, Anchor.EXACT, OLD.rindex("one")),
        ("UPDATE: " + OLD, 0, Anchor.RELOCATED, OLD.index("one") + 8),
        ("UPDATE: " + OLD, 1, Anchor.RELOCATED, OLD.rindex("one") + 8),
        ("Kim said one hundred left.", 1, Anchor.RELOCATED, 9),
        (f"{OLD} {OLD} x", 0, Anchor.EXACT, OLD.index("one")),
        (f"x {OLD} {OLD}", 0, Anchor.AMBIGUOUS, OLD.index("one")),
        ("Nobody died.", 0, Anchor.ORPHANED, OLD.index("one")),
        ("one hundred? Never.", 0, Anchor.ORPHANED, OLD.index("one")),
        (f"x {OLD[20:]} {OLD}", 0, Anchor.RELOCATED, OLD.index("one") + len(OLD) - 17),
    ],
    ids=[
        "in place",
        "moved",
        "moved second",
        "moved by suffix",
        "first stays",
        "twice",
        "gone",
        "look-alike",
        "the one with both sides",
    ],
)
def test_follow(new: str, nth: int, anchor: Anchor, start: int, context: int) -> None:
    before = appearance(OLD, "one hundred", nth, context=context)
    after = follow(before, OLD, new, 2)
    assert after.anchor is anchor
    assert after.spans[0].start == start
    moved = anchor in (Anchor.EXACT, Anchor.RELOCATED)
    assert after.article_version == (2 if moved else 1)
    text = new if moved else OLD
    span = after.spans[0]
    assert text[span.start : span.end] == span.exact
    assert text[max(span.start - len(span.prefix), 0) : span.start] == span.prefix
    assert text[span.end : span.end + len(span.suffix)] == span.suffix


async def _patch(client: httpx.AsyncClient, path: str, change: dict[str, Any]) -> httpx.Response:
    headers = {"content-type": "application/merge-patch+json", "if-match": "*"}
    return await client.patch(path, content=json.dumps(change), headers=headers)


async def _printed(client: httpx.AsyncClient, kind: str, article: str) -> str:
    body: dict[str, Any] = {
        "text": "One hundred died",
        "appearances": [
            {
                "article_id": article,
                "spans": [{"start": 11, "end": 22, "exact": "one hundred", "suffix": " died"}],
            }
        ],
    }
    if kind == "denials":
        body |= {"kind": "full_denial", "targets": [{"text": "it"}]}
    response = await client.post(f"/v1/{kind}", json=body)
    assert response.status_code == 201, response.text
    identity: str = response.json()["id"]
    return f"/v1/{kind}/{identity}"


@pytest.mark.parametrize("kind", ["claims", "denials"])
@pytest.mark.parametrize("by", ["patch", "import"])
async def test_claims_and_denials_follow_their_article(
    client: httpx.AsyncClient, kind: str, by: str
) -> None:
    created = await client.post("/v1/articles", json={"headline": "H", "text": OLD})
    article = created.json()["id"]
    path = await _printed(client, kind, article)
    if by == "patch":
        changed = await _patch(client, f"/v1/articles/{article}", {"text": f"UPDATE {OLD}"})
        assert changed.status_code == 200
    else:
        data = {"headline": "H", "text": f"UPDATE {OLD}"}
        line = json.dumps({"type": "article", "id": article, "data": data})
        headers = {"content-type": "application/x-ndjson"}
        await client.post("/v1/import", content=line, headers=headers)
    (printed,) = (after := (await client.get(path)).json())["appearances"]
    assert (printed["anchor"], printed["article_version"]) == ("relocated", 2)
    assert printed["spans"][0]["start"] == 18
    assert after["version"] == 2

    (revision, _) = (await client.get(f"{path}/revisions")).json()["items"]
    assert revision["changed"] == ["appearances"]
    found = await client.get(f"/v1/{kind}", params={"article_id": article})
    assert len(found.json()["items"]) == 1


async def test_a_change_that_leaves_the_text_touches_nothing_else(
    client: httpx.AsyncClient,
) -> None:
    created = await client.post("/v1/articles", json={"headline": "H", "text": OLD})
    article = created.json()["id"]
    path = await _printed(client, "claims", article)
    await _patch(client, f"/v1/articles/{article}", {"headline": "Another"})
    after = (await client.get(path)).json()
    assert after["version"] == 1
    assert after["appearances"][0]["article_version"] == 1


async def test_the_orphaned_are_found_by_their_anchor(client: httpx.AsyncClient) -> None:
    created = await client.post("/v1/articles", json={"headline": "H", "text": OLD})
    article = created.json()["id"]
    await _printed(client, "claims", article)
    await _patch(client, f"/v1/articles/{article}", {"text": "All of it was wrong."})
    query = {"article_id": article, "anchor": "orphaned"}
    found = (await client.get("/v1/claims", params=query)).json()["items"]
    assert [c["appearances"][0]["article_version"] for c in found] == [1]
    assert not (await client.get("/v1/claims", params={**query, "anchor": "exact"})).json()["items"]
