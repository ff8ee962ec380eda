"""When an article's text changes, what is printed in it follows (hard case 8)."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.places import find_places
from api.records import reanchoring
from api.records.relocation import relocate
from api.settings import Settings
from schemas.parts import Appearance, Span
from schemas.vocabularies import Anchor
from tests.conftest import patient, serving

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
        (f"{OLD} {OLD} x", 0, Anchor.AMBIGUOUS, OLD.index("one")),
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
        "a second appears",
        "twice",
        "gone",
        "look-alike",
        "the one with both sides",
    ],
)
def test_follow(new: str, nth: int, anchor: Anchor, start: int, context: int) -> None:
    before = appearance(OLD, "one hundred", nth, context=context)
    [after] = relocate([before], {1: OLD}, new, 2)
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


async def _anchor_after(client: httpx.AsyncClient, *texts: str | None) -> list[tuple[str, int]]:
    """Print a claim in an article, give the article these texts; give anchor and start of each."""
    created = await client.post("/v1/articles", json={"headline": "H", "text": OLD})
    article = created.json()["id"]
    path = await _printed(client, "claims", article)
    anchors = []
    for text in texts:
        assert (await _patch(client, f"/v1/articles/{article}", {"text": text})).status_code == 200
        (printed,) = (await client.get(path)).json()["appearances"]
        anchors.append((printed["anchor"], printed["spans"][0]["start"]))
    return anchors


async def test_an_orphan_whose_words_come_back_is_found_again(client: httpx.AsyncClient) -> None:
    assert await _anchor_after(client, "Nobody died.", "Nobody.", f"UPDATE {OLD}", OLD) == [
        ("orphaned", 11),
        ("orphaned", 11),
        ("relocated", 18),
        ("relocated", 11),
    ]


async def test_words_come_back_to_the_place_by_the_context_that_they_had(
    client: httpx.AsyncClient,
) -> None:
    other = "Mr Park and the one hundred guests of the city hall came in and sat down. "
    lost = other + "Mr Lee said nothing at all, and neither did anybody else who was there."
    assert await _anchor_after(client, lost, other + OLD) == [
        ("orphaned", 11),
        ("relocated", 11 + len(other)),
    ]


async def test_a_second_place_like_it_makes_words_ambiguous_until_it_is_gone(
    client: httpx.AsyncClient,
) -> None:
    assert await _anchor_after(client, f"{OLD} {OLD}", OLD) == [("ambiguous", 11), ("exact", 11)]


async def test_text_that_is_stored_later_makes_words_at_their_offsets_exact(
    client: httpx.AsyncClient,
) -> None:
    created = await client.post("/v1/articles", json={"headline": "H"})
    article = created.json()["id"]
    spans = [{"start": 11, "end": 22, "exact": "one hundred"}]
    body = {"text": "It", "appearances": [{"article_id": article, "spans": spans}]}
    path = f"/v1/claims/{(await client.post('/v1/claims', json=body)).json()['id']}"
    assert (await client.get(path)).json()["appearances"][0]["anchor"] == "unverified"
    await _patch(client, f"/v1/articles/{article}", {"text": f"{OLD} {OLD}"})
    (printed,) = (await client.get(path)).json()["appearances"]
    assert (printed["anchor"], printed["article_version"]) == ("exact", 2)


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("killed, " * 500_000, "killed, " * 9 + "{number}"),
        ("ab" * 2_000_000, "ab" * 40 + "{number}"),
        ("a" * 4_000_000, "a" * 70 + "{number}"),
    ],
)
def test_a_search_that_would_never_end_is_given_up(
    text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.core.places.MAX_COMPARISONS", 100_000)
    phrases = [words.format(number=number) for number in range(5_000)]
    found = find_places(text, phrases)
    assert not any(found.starts.values())


def test_a_search_that_was_given_up_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = appearance(OLD, "one hundred")
    monkeypatch.setattr("api.core.places.MAX_COMPARISONS", 0)
    [after] = relocate([before], {1: OLD}, f"UPDATE {OLD}", 2)
    assert after.anchor is Anchor.AMBIGUOUS
    assert after.spans == before.spans


@pytest.mark.long
@given(st.data())
def test_phrases_are_found_where_they_stand(data: st.DataObject) -> None:
    letters = data.draw(st.sampled_from(["ab", "abc", "aé中🌊"]))
    text = data.draw(st.text(letters, max_size=120))
    phrases = data.draw(st.lists(st.text(letters, max_size=40), max_size=6))
    if text:
        start = data.draw(st.integers(0, len(text) - 1))
        phrases.append(text[start : start + data.draw(st.integers(1, 60))])
    found = find_places(text, phrases)
    for phrase in phrases:
        places = [at for at in range(len(text)) if phrase and text.startswith(phrase, at)]
        starts = found.starts[phrase]
        assert len(starts) == len(set(starts)) >= min(2, len(places))
        assert set(starts) <= set(places)


@pytest.mark.sweep
async def test_five_thousand_spans_in_four_megabytes_follow(empty_url: str) -> None:
    """They do so within the time that a statement may take where nobody sets another."""
    settings = patient(statement_seconds=Settings().statement_seconds)
    async with serving(empty_url, settings) as client:
        await _move_five_thousand_spans(client)


async def _move_five_thousand_spans(client: httpx.AsyncClient) -> None:
    words = [f"word{number:05}" for number in range(5_000)]
    filler = "x" * 785
    text = " ".join(f"{word} {filler}" for word in words)
    created = await client.post("/v1/articles", json={"headline": "H", "text": text})
    article = created.json()["id"]
    paths = []
    for first in range(0, 5_000, 100):
        spans = [
            {"start": n * 796, "end": n * 796 + 9, "exact": words[n]}
            for n in range(first, first + 100)
        ]
        body = {"text": "It", "appearances": [{"article_id": article, "spans": spans}]}
        made = await client.post("/v1/claims", json=body)
        assert made.status_code == 201, made.text
        paths.append(f"/v1/claims/{made.json()['id']}")
    changed = await _patch(client, f"/v1/articles/{article}", {"text": f"UPDATE {text}"})
    assert changed.status_code == 200, changed.text
    for path in paths:
        (printed,) = (await client.get(path)).json()["appearances"]
        assert printed["anchor"] == "relocated"


async def _printing(client: httpx.AsyncClient, claims: int, spans: int) -> tuple[str, str]:
    """Make an article, and claims that are printed in it with so many spans each."""
    words = [f"w{number:05}" for number in range(spans)]
    text = " ".join(words)
    created = await client.post("/v1/articles", json={"headline": "H", "text": text})
    article = created.json()["id"]
    places = [{"start": n * 7, "end": n * 7 + 6, "exact": word} for n, word in enumerate(words)]
    printed = [
        {"article_id": article, "spans": places[at : at + 100]} for at in range(0, spans, 100)
    ]
    for _ in range(claims):
        made = await client.post("/v1/claims", json={"text": "It", "appearances": printed})
        assert made.status_code == 201, made.text
    return article, text


async def _anchors(client: httpx.AsyncClient, article: str) -> list[str]:
    listed = await client.get("/v1/claims", params={"article_id": article})
    return [each["anchor"] for claim in listed.json()["items"] for each in claim["appearances"]]


@pytest.mark.parametrize("most", ["MAX_RECORDS", "MAX_BYTES"])
async def test_records_follow_in_batches_outside_the_event_loop(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, most: str
) -> None:
    threads = []
    decode = reanchoring._decode  # noqa: SLF001

    def watched(rows: Any) -> Any:
        threads.append(threading.current_thread())
        return decode(rows)

    article, text = await _printing(client, claims=3, spans=200)
    monkeypatch.setattr(reanchoring, "_decode", watched)
    monkeypatch.setattr(reanchoring, most, 1)
    changed = await _patch(client, f"/v1/articles/{article}", {"text": f"UPDATE {text}"})
    assert changed.status_code == 200, changed.text
    assert await _anchors(client, article) == ["relocated"] * 6
    assert len(threads) == 3
    assert threading.main_thread() not in threads


@pytest.mark.sweep
async def test_many_claims_with_all_the_spans_that_they_may_have_follow(empty_url: str) -> None:
    """18 MB are too much for one statement, and for the event loop."""
    async with serving(empty_url, patient(statement_seconds=10)) as client:
        article, text = await _printing(client, claims=30, spans=4_000)
        changed = await _patch(client, f"/v1/articles/{article}", {"text": f"UPDATE {text}"})
        assert changed.status_code == 200, changed.text
        assert set(await _anchors(client, article)) == {"relocated"}
