"""What is promised of articles beyond the common contract: their rules, defaults and questions."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api.core.db import Connection
from tests.test_concurrency import blocked
from tests.world import World, content, faults


@pytest.fixture
def world(client: httpx.AsyncClient) -> World:
    return World(client)


# --- defaults and computed fields ------------------------------------------------------------


async def test_an_article_may_have_its_headline_alone(world: World) -> None:
    article = await world.add("articles", "a")
    assert content(article) == {
        "headline": "A headline",
        "url": None,
        "publisher_id": None,
        "authors": [],
        "language": "und",
        "published": None,
        "dateline": None,
        "section": None,
        "text": None,
        "zones": [],
        "status": "usable",
        "corrections": [],
        "relations": [],
        "archived_url": None,
        "embargoed_until": None,
        "kind": "unspecified",
        "credits": [],
        "text_sha256": None,
        "text_length": None,
        "headline_derived": False,
        "external_ids": [],
        "tags": [world.tag],
        "note": None,
    }


@pytest.mark.parametrize("body", [{}, {"text": " \n\u00a0"}, {"publisher_id": None}])
async def test_an_article_that_nothing_names_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    assert faults(await client.post("/v1/articles", json=body)) == {"/headline": "required"}


# --- a headline from the text ------------------------------------------------------------------

LONG = "word " * 19 + "endsright here"
URL = "https://social.example/posts/1"


@pytest.mark.parametrize(
    ("text", "headline"),
    [
        ("A post.", "A post."),
        ("  Two\n\tlines,\u00a0so 😀 ", "Two lines, so 😀"),
        ("x" * 100, "x" * 100),
        ("x" * 101, "x" * 100),
        ("😀" * 300, "😀" * 100),
        (LONG, ("word " * 19).strip()),
        ("word " * 19 + "ends here", "word " * 19 + "ends"),
        ("\n" * 5_000 + "late", "late"),
        ("\n" * 999 + "late" + " " * 2_000 + "words", "late"),
        ("\n" * 1_000 + "late" + " " * 900 + "words", "late words"),
    ],
)
async def test_an_article_without_a_headline_takes_the_first_words(
    world: World, text: str, headline: str
) -> None:
    response = await world.client.post("/v1/articles", json={"text": text, "kind": "post"})
    assert response.status_code == 201, response.text
    article = response.json()
    assert (article["headline"], article["headline_derived"]) == (headline, True)
    assert article["text"] == text


async def test_a_headline_costs_little_of_a_long_text(connection: Connection) -> None:
    """The limit is many times what it takes, and a fraction of what it took."""
    derived = "SELECT derived_headline(repeat('word ', 800000), NULL)"
    await connection.execute("SET statement_timeout = '1s'")
    assert await connection.fetchval(derived) == " ".join(["word"] * 20)


async def test_an_article_without_words_takes_its_url(world: World) -> None:
    url = f"{URL}?{world.tag}"
    response = await world.client.post("/v1/articles", json={"url": url, "text": " "})
    assert (response.json()["headline"], response.json()["headline_derived"]) == (url, True)


async def test_a_derived_headline_follows_the_text(world: World) -> None:
    article = await world.add("articles", "a", headline=None, text="First words")
    assert (article["headline"], article["headline_derived"]) == ("First words", True)
    article = await world.patch("a", text="Other words")
    assert (article["headline"], article["headline_derived"]) == ("Other words", True)
    edited = {**article, "text": "Third words"}
    assert (await world.put("a", edited)).json()["headline"] == "Third words"
    given = await world.patch("a", headline="As printed")
    assert (given["headline"], given["headline_derived"]) == ("As printed", False)
    given = await world.patch("a", text="Fourth words")
    assert (given["headline"], given["headline_derived"]) == ("As printed", False)
    removed = await world.patch("a", headline=None)
    assert (removed["headline"], removed["headline_derived"]) == ("Fourth words", True)


async def test_a_derived_headline_stays_where_nothing_is_left_to_derive_it_from(
    world: World,
) -> None:
    await world.add("articles", "a", headline=None, text="First words")
    for fields in ({"text": " "}, {"text": None}):
        article = await world.patch("a", **fields)
        assert (article["headline"], article["headline_derived"]) == ("First words", True)
    assert faults(await world.put("a", {"note": "no headline"})) == {"/headline": "required"}


@pytest.mark.parametrize("way", ["upsert", "import"])
async def test_a_headline_is_derived_anew_in_a_write_that_is_tried_again(
    world: World, database_url: str, way: str
) -> None:
    name = {"namespace": "headlines", "value": world.tag}
    await world.add("articles", "a", headline=None, text="First words", external_ids=[name])
    wanted = {"text": "Third words", "external_ids": [name]}
    if way == "upsert":
        request = world.client.put("/v1/articles/by-external-id", params=name, json=wanted)
    else:
        request = world.client.post(
            "/v1/import",
            content=json.dumps({"type": "article", "external_id": name, "data": wanted}),
            headers={"content-type": "application/x-ndjson"},
        )
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            change = "UPDATE articles SET headline = NULL, text = 'Second words' WHERE id = $1"
            await other.execute(change, world.id("a"))
            task = asyncio.create_task(request)
            await blocked(task, other)
        answer = await task
    finally:
        await other.close()
    assert answer.status_code == 200, answer.text
    article = await world.get("a")
    assert article["version"] == 3
    assert (article["headline"], article["headline_derived"]) == ("Third words", True)


async def test_a_copy_of_an_article_derives_its_headline_as_well(world: World) -> None:
    original = await world.add("articles", "a", headline=None, text="First words")
    server = ("id", "version", "created_at", "updated_at", "text_sha256", "text_length")
    copy = {name: value for name, value in original.items() if name not in server}
    created = (await world.client.post("/v1/articles", json=copy)).json()
    assert (created["headline"], created["headline_derived"]) == ("First words", True)
    given = {**copy, "headline": "As printed", "headline_derived": False}
    created = (await world.client.post("/v1/articles", json=given)).json()
    assert (created["headline"], created["headline_derived"]) == ("As printed", False)


async def test_an_article_written_again_without_its_headline_is_unchanged(world: World) -> None:
    await world.add("articles", "a", headline=None, text="First words")
    first = await world.get("a")
    again = await world.put("a", {"text": "First words", "tags": [world.tag]})
    assert again.json() == first


async def test_a_derived_headline_is_derived_again_where_it_is_imported(world: World) -> None:
    await world.add("articles", "a", headline=None, text="First words")
    exported = await world.get("a")
    other = {"type": "article", "id": str(uuid4()), "version": 3}
    data = {**exported, "id": other["id"], "external_ids": [], "text": "Edited words"}
    response = await world.client.post(
        "/v1/import",
        content=json.dumps({**other, "data": data}),
        headers={"content-type": "application/x-ndjson"},
    )
    assert response.status_code == 200, response.text
    copy = (await world.client.get(f"/v1/articles/{other['id']}")).json()
    assert (copy["headline"], copy["headline_derived"]) == ("Edited words", True)


# --- credits -----------------------------------------------------------------------------------


async def test_an_article_credits_sources(world: World) -> None:
    await world.add("sources", "agency", kind="publication", name="Agency")
    credit = {"source_id": "@agency", "role": "wire", "printed": "Agency"}
    article = await world.add("articles", "a", credits=[credit])
    assert article["credits"] == [{**credit, "source_id": world.id("agency")}]
    assert (await world.delete("agency")).json()["referrers"] == [
        {"type": "article", "id": world.id("a"), "link": "credit"}
    ]
    assert await world.ask("articles", "credit_id=@agency") == {"a"}
    assert await world.ask("articles", "credit_id=@agency&credit_role=wire") == {"a"}
    assert await world.ask("articles", "credit_id=@agency&credit_role=photo") == set()
    assert await world.refused("articles", credits=[credit, credit]) == {
        "/credits/1": "duplicate-item"
    }


async def test_the_parts_of_an_article_have_their_defaults(world: World) -> None:
    correction = {"kind": "correction", "notice": "It was 30."}
    article = await world.add(
        "articles",
        "a",
        authors=[{"name": "Our correspondent"}],
        published={"expression": "Friday"},
        corrections=[correction],
    )
    assert article["authors"] == [{"name": "Our correspondent", "source_id": None, "role": None}]
    assert article["published"] == {
        "expression": "Friday",
        "earliest": None,
        "latest": None,
        "precision": "unknown",
    }
    assert article["corrections"] == [
        correction | {"published_at": None, "claim_ids": [], "effect": None}
    ]


TEXTS = [
    "plain",
    "with 🌊 and 👩‍👩‍👧 beyond the basic plane",
    # The same to the eye, and other code points; nothing is normalised.
    "é",
    "e\u0301",
    "line\r\nline\u2028\ttab\x0b\x7f\ufeff",
    "  kept  \n",
    "\ufffe\U0010ffff",
]


@pytest.mark.parametrize("text", TEXTS)
async def test_a_text_is_kept_as_it_is_and_measured(world: World, text: str) -> None:
    article = await world.add("articles", "a", text=text)
    assert article["text"] == text
    assert article["text_length"] == len(text)
    assert article["text_sha256"] == hashlib.sha256(text.encode()).hexdigest()


async def test_a_text_that_changes_is_measured_anew(world: World) -> None:
    await world.add("articles", "a", text="one")
    article = await world.patch("a", text="three")
    assert article["text_length"] == 5
    assert article["text_sha256"] == hashlib.sha256(b"three").hexdigest()
    article = await world.patch("a", text=None)
    assert article["text_length"] is article["text_sha256"] is None


async def test_what_the_server_measures_can_only_be_sent_back(world: World) -> None:
    article = await world.add("articles", "a", text="one")
    assert (await world.put("a", article)).json() == article
    for name, other in [("text_length", 4), ("text_sha256", "0" * 64)]:
        refused = faults(await world.put("a", article | {name: other}))
        assert refused == {f"/{name}": "read-only"}


# --- rules -----------------------------------------------------------------------------------


async def test_a_zone_lies_inside_the_text(world: World) -> None:
    zones: list[dict[str, Any]] = [
        {"zone": "headline", "start": 0, "end": 3},
        {"zone": "body", "start": 3, "end": 4},
        {"zone": "body", "start": 2, "end": 2},
        {"zone": "footer", "start": 3, "end": 1},
    ]
    refused = await world.refused("articles", text="🌊🌊🌊", zones=zones)
    assert refused == {
        "/zones/1/end": "outside-text",
        "/zones/2/end": "out-of-order",
        "/zones/3/end": "out-of-order",
    }
    await world.add("articles", "a", text="🌊🌊🌊", zones=zones[:1])
    # Where no text is stored, nobody can tell.
    await world.add("articles", "unstored", zones=zones[:2])


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "example.org/a",
        "https://",
        "https://exämple.org/",
        "javascript:x",
        "https://example.org/a b",
        "https://example.org/\n",
        "https://example.org/" + "a" * 1981,
    ],
)
async def test_a_url_is_an_absolute_one_of_the_web(world: World, url: str) -> None:
    assert await world.refused("articles", url=url) == {"/url": "invalid-value"}
    assert await world.refused("articles", archived_url=url) == {"/archived_url": "invalid-value"}


async def test_a_url_may_have_two_thousand_bytes(world: World) -> None:
    url = f"https://example.org/{uuid4()}/"
    url += "a" * (2000 - len(url))
    assert (await world.add("articles", "a", url=url))["url"] == url
    assert await world.ask("articles", f"url={url}") == {"a"}


async def test_a_url_is_unique_among_the_articles_that_are_there(world: World) -> None:
    url = f"https://example.org/{uuid4()}"
    await world.add("articles", "a", url=url)
    await world.add("articles", "b")
    response = await world.client.post("/v1/articles", json={"headline": "h", "url": url})
    assert faults(response, 409) == {"/url": "not-unique"}
    assert response.json()["type"] == "/v1/problems/not-unique"
    assert url in response.json()["detail"]
    assert faults(await world.put("b", {"headline": "h", "url": url}), 409)
    # Other than in case it is another URL, and a deleted article sets it free.
    await world.patch("b", url=url.replace("example", "EXAMPLE"))
    assert (await world.delete("a")).status_code == 204
    await world.patch("b", url=url)
    response = await world.client.post(f"{world.at('a')}/restore", headers={"if-match": "*"})
    assert faults(response, 409) == {"/url": "not-unique"}


async def test_an_external_id_is_unique_among_articles(world: World) -> None:
    outside = {"namespace": "n", "value": uuid4().hex}
    await world.add("articles", "a", external_ids=[outside])
    body = {"headline": "h", "external_ids": [{"namespace": "n", "value": "other"}, outside]}
    response = await world.client.post("/v1/articles", json=body)
    assert faults(response, 409) == {"/external_ids": "not-unique"}


async def test_a_mention_twice_is_refused(world: World) -> None:
    await world.add("articles", "other")
    await world.add("claims", "c")
    relation = {"article_id": "@other", "kind": "rewrite_of"}
    notice = {"kind": "update", "notice": "n", "claim_ids": ["@c", "@c"]}
    refused = await world.refused(
        "articles",
        relations=[relation, relation | {"kind": "follow_up_to"}, relation],
        corrections=[notice],
    )
    assert refused == {
        "/relations/2": "duplicate-item",
        "/corrections/0/claim_ids/1": "duplicate-item",
    }


async def test_an_article_does_not_refer_to_itself(world: World) -> None:
    await world.add("articles", "a")
    own = {"relations": [{"article_id": "@a", "kind": "replaces"}]}
    refused = faults(await world.put("a", {"headline": "h"} | own))
    assert refused == {"/relations/0/article_id": "self-reference"}


async def test_what_an_article_refers_to_exists(world: World) -> None:
    nothing = str(uuid4())
    await world.add("claims", "c")
    refused = await world.refused(
        "articles",
        publisher_id=nothing,
        authors=[{"name": "A"}, {"name": "B", "source_id": nothing}],
        corrections=[{"kind": "update", "notice": "n", "claim_ids": ["@c", nothing]}],
        relations=[{"article_id": nothing, "kind": "replaces"}],
    )
    pointers = (
        "/publisher_id",
        "/authors/1/source_id",
        "/corrections/0/claim_ids/1",
        "/relations/0/article_id",
    )
    assert refused == dict.fromkeys(pointers, "unknown-reference")


async def test_a_date_on_no_calendar_is_refused(world: World) -> None:
    refused = await world.refused(
        "articles",
        published={"earliest": "2024-12-20", "latest": "2023-02-29"},
        corrections=[{"kind": "update", "notice": "n", "published_at": "2024-06-31"}],
        embargoed_until="2024-02-30T00:00:00Z",
    )
    pointers = ("/published/latest", "/corrections/0/published_at", "/embargoed_until")
    assert refused == dict.fromkeys(pointers, "impossible-date")


# --- what can be asked -----------------------------------------------------------------------


@pytest.fixture(scope="module")
async def printed(client: httpx.AsyncClient) -> World:
    """Articles of two publishers, and what is printed in them."""
    world = World(client)
    for name in ("courier", "tribune", "lee", "briefing", "parliament", "ministry", "party"):
        await world.add("sources", name)
    await world.add(
        "articles",
        "first",
        publisher_id="@courier",
        url=f"https://example.org/{world.tag}",
        published={"earliest": "2024-12-20T06:15:00Z", "latest": "2024-12-20T06:15:00Z"},
        language="en",
    )
    await world.add(
        "articles",
        "copy",
        publisher_id="@tribune",
        relations=[{"article_id": "@first", "kind": "syndicated_copy_of"}],
        published={"earliest": "2024-12-21", "latest": "2024-12-21"},
        status="withheld",
    )
    await world.add(
        "articles",
        "later",
        publisher_id="@courier",
        relations=[{"article_id": "@first", "kind": "follow_up_to"}],
        status="retracted",
    )
    hop = {"source_id": "@lee", "via_id": "@briefing", "audience_id": "@parliament"}
    await world.add(
        "claims",
        "c",
        attributions=[hop],
        parties=[{"source_id": "@party", "role": "topic"}],
        appearances=[{"article_id": "@first"}, {"article_id": "@copy"}],
    )
    await world.add(
        "denials",
        "d",
        attributions=[{"position": 1, "source_id": "@ministry"}],
        appearances=[{"article_id": "@later"}],
    )
    # Not printed anywhere, so in no article.
    await world.add("claims", "elsewhere", attributions=[{"source_id": "@tribune"}])
    return world


ALL = {"first", "copy", "later"}

ASKED: list[tuple[str, set[str]]] = [
    ("", ALL),
    ("publisher_id=@courier", {"first", "later"}),
    ("publisher_id=@lee", set()),
    ("url=https://example.org/{tag}", {"first"}),
    ("url=https://example.org/{tag}/", set()),
    ("status=withheld", {"copy"}),
    ("status__nin=withheld", {"first", "later"}),
    ("status__in=withheld&status__in=retracted", {"copy", "later"}),
    ("language=en", {"first"}),
    ("published__gte=2024-12-20", {"first", "copy"}),
    ("published__gt=2024-12-20", {"copy"}),
    ("published__lte=2024-12-20", {"first"}),
    ("published__lt=2024-12-20", set()),
    ("published__gt=2024-12-20T06:15:00Z", {"copy"}),
    ("published__gte=2024-12-20T06:15:00Z", {"first", "copy"}),
    ("published__lte=2024-12-20T07:15:00+01:00", {"first"}),
    ("related_to=@first", {"copy", "later"}),
    ("related_to=@first&relation_kind=follow_up_to", {"later"}),
    ("related_to=@copy", {"first"}),
    ("related_to=@copy&relation_kind=follow_up_to", set()),
    ("source_id=@lee", {"first", "copy"}),
    ("source_id=@briefing", {"first", "copy"}),
    ("source_id=@parliament", {"first", "copy"}),
    ("source_id=@ministry", {"later"}),
    ("source_id=@party", set()),
    ("source_id=@tribune", set()),
    ("source_id=@lee&publisher_id=@tribune", {"copy"}),
]


@pytest.mark.parametrize(("query", "names"), ASKED, ids=[query or "all" for query, _ in ASKED])
async def test_articles_can_be_asked(printed: World, query: str, names: set[str]) -> None:
    assert await printed.ask("articles", query.replace("{tag}", printed.tag)) == names
