"""Lists and records in other formats than JSON: lines, tables, places; and which one is chosen."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.access import keyring
from api.core import cursor, streaming
from api.core.errors import unavailable
from api.exchange import formats, lists, names, tables
from api.exchange.formats import AS_JSON, AS_LINES, AS_PLACES, AS_TABLE
from api.questions import annotations as web_annotations
from schemas.vocabularies import RecordType, Scope
from tests.conftest import allow, bearer, serving
from tests.factories import EVERY, Client, Noun, create
from tests.world import World

OFFERED = formats.of_list(RecordType.CLAIM)


@pytest.fixture
async def empty(empty_url: str) -> Any:
    async with serving(empty_url) as client:
        yield client


async def table(client: Client, path: str, **asked: Any) -> list[dict[str, str]]:
    """Read a list as a table: for each row the cells by their column."""
    answer = await client.get(path, params={"format": "csv", **asked})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "etag" not in answer.headers
    return list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True))


async def lines(client: Client, path: str, **asked: Any) -> list[bytes]:
    """Read a list as lines, without the last one, which counts the others."""
    answer = await client.get(path, params=asked, headers={"accept": "application/x-ndjson"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    *records, totals = answer.content.splitlines()
    assert json.loads(totals) == {"count": len(records)}
    return records


# --- which format ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("*/*", AS_JSON),
        ("", AS_JSON),
        ("text/csv", AS_TABLE),
        ("Text/CSV; charset=utf-8", AS_TABLE),
        ("text/*", AS_TABLE),
        ("text/csv;q=0.5, application/json", AS_JSON),
        ("application/json;q=0.1, text/csv;q=0.2", AS_TABLE),
        ("application/json;q=0, */*", AS_LINES),
        ("application/geo+json, */*;q=0.1", AS_PLACES),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", AS_JSON),
        ("application/xml", None),
        ("text/csv;q=0", None),
        ("text/csv;q=7, application/json;q=0.5", AS_JSON),
        ("*/*; q=.2, text/csv;q=.9", AS_TABLE),
        (";;;, nonsense", AS_JSON),
    ],
)
def test_the_header_chooses_by_weight_and_the_usual_format_in_doubt(
    accepted: str, expected: formats.Format | None
) -> None:
    assert formats.preferred(accepted, OFFERED) == expected


async def test_the_query_comes_before_the_header(client: Client, noun: Noun) -> None:
    answer = await client.get(
        noun.path, params={"format": "ndjson", "limit": 1}, headers={"accept": "text/csv"}
    )
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert {"accept", "accept-encoding"} == set(answer.headers["vary"].lower().split(", "))
    answer = await client.get(noun.path, params={"format": "json", "limit": 1})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize(
    "asked", [{"params": {"format": "xml"}}, {"headers": {"accept": "application/xml"}}]
)
async def test_an_unknown_format_is_406_and_the_others_are_named(
    client: Client, noun: Noun, asked: dict[str, Any]
) -> None:
    record = await create(client, noun)
    for path, offered in (
        (noun.path, formats.of_list(noun.type)),
        (record.path, formats.of_record(noun.type)),
    ):
        answer = await client.get(path, **asked)
        assert answer.status_code == 406, answer.text
        assert answer.json()["code"] == "not-acceptable"
        assert all(each.media_type in answer.json()["detail"] for each in offered)


async def test_a_precondition_that_can_not_be_read_is_refused_in_every_format(
    client: Client,
) -> None:
    claim = await create(client, EVERY[RecordType.CLAIM])
    for each in formats.of_record(RecordType.CLAIM):
        headers = {"accept": each.media_type, "if-none-match": ""}
        answer = await client.get(claim.path, headers=headers)
        assert (answer.status_code, answer.json().get("code")) == (400, "invalid-header")


@pytest.mark.parametrize("form", ["ndjson", "csv"])
@pytest.mark.parametrize("name", ["cursor", "expand", "count"])
async def test_what_is_for_pages_alone_is_refused(client: Client, form: str, name: str) -> None:
    value = {"cursor": "x", "expand": "sources", "count": "exact"}[name]
    answer = await client.get("/v1/claims", params={"format": form, name: value})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] == name


async def test_what_is_for_tables_alone_is_refused_elsewhere(client: Client) -> None:
    for name, value in (("columns", "id"), ("wide", "1"), ("bom", "1"), ("trailer", "1")):
        answer = await client.get("/v1/claims", params={name: value})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["parameter"] == name


async def test_a_ranked_list_needs_a_limit(client: Client) -> None:
    """Only so many records are ranked: without a limit, the list would seem whole."""
    asked = {"format": "ndjson", "q": "anything", "sort": "relevance"}
    answer = await client.get("/v1/claims", params=asked)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] == "sort"
    assert (await client.get("/v1/claims", params={**asked, "limit": 5})).status_code == 200


# --- lines -----------------------------------------------------------------------------------


async def test_a_list_in_lines_has_every_record_as_get_gives_it(
    empty: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beyond a page: three records are two pages of two."""
    monkeypatch.setattr(lists, "MAX_LIMIT", 2)
    for noun in EVERY.values():
        there = [(await create(empty, noun)).path for _ in range(3)]
        found = await lines(empty, noun.path, sort="created_at")
        by_id = {json.loads(line)["id"]: line for line in found}
        for path in there:
            assert by_id[path.rpartition("/")[2]] == (await empty.get(path)).content
        assert len(await lines(empty, noun.path, limit=1)) == 1
        assert len(await lines(empty, noun.path, limit=3)) == 3
        assert len(await lines(empty, noun.path, tag="nobody has this")) == 0


async def test_filters_order_and_visibility_are_those_of_json(
    empty: Client, empty_url: str
) -> None:
    for number, status in enumerate(("published", "draft", "published")):
        body = {"text": f"Claim {number}", "review_status": status, "tags": [status]}
        assert (await empty.post("/v1/claims", json=body)).status_code == 201
    for asked in ({"tag": "published"}, {"sort": "created_at"}, {"q": "claim"}):
        page = (await empty.get("/v1/claims", params=asked)).json()["items"]
        assert [json.loads(line) for line in await lines(empty, "/v1/claims", **asked)] == page
        rows = await table(empty, "/v1/claims", **asked)
        assert [row["id"] for row in rows] == [record["id"] for record in page]
    reader = bearer(await allow(empty_url, keyring.new_key(), (Scope.READ,)))
    for form in ("csv", "ndjson"):
        seen = await empty.get("/v1/claims", params={"format": form}, headers=reader)
        assert "Claim 0" in seen.text
        assert "Claim 1" not in seen.text


# --- tables ----------------------------------------------------------------------------------


async def test_a_table_names_the_records_that_a_claim_names(empty: Client) -> None:
    world = World(empty)
    await world.add("sources", "mp", name="Lee, the MP")
    await world.add("sources", "service", name=None, description="an intelligence service")
    await world.add("sources", "briefing", name="A briefing", kind="document")
    await world.add("sources", "ministry", name="The ministry")
    await world.add("articles", "report", headline="A report", text="Lee says so.")
    hops = [
        {"position": 0, "source_id": "@mp"},
        {"position": 1, "source_id": "@service", "via_id": "@briefing"},
    ]
    await world.add(
        "claims",
        "said",
        attributions=hops,
        appearances=[{"article_id": "@report"}],
        quantities=[
            {
                "metric": "killed",
                "unit": "person",
                "qualifier": "at_least",
                "lower": 100,
                "printed": "at least 100",
            }
        ],
    )
    await world.add(
        "denials",
        "no",
        kind="full_denial",
        targets=[{"claim_id": "@said"}],
        attributions=[{"source_id": "@ministry"}],
    )
    (row,) = await table(empty, "/v1/claims")
    assert list(row)[:8] == [
        "claimant",
        "origin",
        "via",
        "figure",
        "printed_in",
        "responses",
        "id",
        "version",
    ]
    assert (row["claimant"], row["origin"]) == ("Lee, the MP", "an intelligence service")
    assert (row["via"], row["figure"]) == ("A briefing", "killed: at least 100")
    assert (row["printed_in"], row["responses"]) == ("A report", "full_denial: The ministry")
    (row,) = await table(empty, "/v1/denials")
    assert (row["responder"], row["answers"]) == ("The ministry", "Something is so")
    (row,) = await table(empty, "/v1/claims", wide="1")
    assert {*_WIDE.split(",")} < row.keys()
    (row,) = await table(empty, "/v1/claims", columns=_WIDE)
    assert row == {
        "attribution.source": "Lee, the MP",
        "attribution.source_id": world.id("mp"),
        "quantity.metric": "killed",
        "quantity.lower": "100",
        "quantity.upper": "",
    }


_WIDE = "attribution.source,attribution.source_id,quantity.metric,quantity.lower,quantity.upper"


@pytest.mark.long
async def test_a_cell_names_so_many_records_and_no_more(empty: Client) -> None:
    """Else a page of a table could take gigabytes: 200 claims with 500 sources each."""
    world = World(empty)
    for number in range(25):
        await world.add("sources", f"s{number}", name=f"{number:02} " + "x" * 300)
    hops = [{"position": 0, "source_id": f"@s{number}"} for number in range(25)]
    await world.add("claims", "said", attributions=hops)
    for number in range(22):
        target = {"targets": [{"claim_id": "@said"}], "attributions": hops}
        await world.add("denials", f"d{number}", **target)
    (row,) = await table(empty, "/v1/claims")
    called = row["claimant"].split("; ")
    assert (len(called), called[-1]) == (21, "…")
    assert {len(name) for name in called[:-1]} == {200}
    assert len(row["responses"]) < 32_767
    assert row["responses"].endswith("; …")


async def test_what_no_column_shows_is_not_read(
    empty: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(empty, EVERY[RecordType.CLAIM])
    read: list[str] = []
    for name in ("read_names", "read_responses"):
        monkeypatch.setattr(tables, name, _noted(read, name, getattr(tables, name)))
    await table(empty, "/v1/claims", columns="id,version")
    assert read == []
    await table(empty, "/v1/claims", columns="claimant")
    assert read == ["read_names"]


def _noted(read: list[str], name: str, function: Callable[..., Awaitable[Any]]) -> Any:
    """Note each call of a function."""

    async def noted(*arguments: Any) -> Any:
        read.append(name)
        return await function(*arguments)

    return noted


async def test_a_busy_database_does_not_cut_a_table_off(
    empty: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(empty, EVERY[RecordType.CLAIM])
    failures = iter([unavailable("Busy.")])
    read = names.read_responses

    async def busy_once(*arguments: Any) -> Any:
        for failure in failures:
            raise failure
        return await read(*arguments)

    monkeypatch.setattr(tables, "read_responses", busy_once)
    monkeypatch.setattr(streaming, "_PAUSE_SECONDS", 0.0)
    assert len(await table(empty, "/v1/claims")) == 1


async def test_a_source_that_the_caller_does_not_see_has_no_name(
    empty: Client, empty_url: str
) -> None:
    world = World(empty)
    await world.add("sources", "mole", name="Deep Throat", confidentiality="protected")
    await world.add(
        "claims",
        "said",
        review_status="published",
        attributions=[{"source_id": "@mole", "printed": "a person in the know"}],
    )
    (row,) = await table(empty, "/v1/claims")
    assert row["claimant"] == "Deep Throat"
    reader = bearer(await allow(empty_url, keyring.new_key(), (Scope.READ,)))
    answer = await empty.get("/v1/claims?format=csv", headers=reader)
    assert "Deep Throat" not in answer.text
    assert "a person in the know" in answer.text


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\ttab", "'\ttab"),
        ("'quoted", "''quoted"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ('He said "no", twice', 'He said "no", twice'),
        ("two\nlines\r\nand more", "two\nlines\r\nand more"),
        ("007", "007"),
        ("مرحبا 🎉", "مرحبا 🎉"),
    ],
)
async def test_a_cell_survives_a_reader_of_tables(client: Client, text: str, cell: str) -> None:
    source = await create(
        client, EVERY[RecordType.SOURCE], {"kind": "person", "name": "n", "note": text}
    )
    (row,) = await table(client, "/v1/sources", id__in=source.id, columns="note")
    assert row["note"] == cell


async def test_nothing_is_told_from_an_empty_text(empty: Client) -> None:
    body = {"kind": "person", "name": "Lee", "tags": []}
    assert (await empty.post("/v1/sources", json=body)).status_code == 201
    answer = await empty.get("/v1/sources", params={"format": "csv", "columns": "name,note,tags"})
    assert answer.text == "name,note,tags\r\nLee,,[]\r\n"


async def test_external_ids_of_a_namespace_are_a_column(empty: Client) -> None:
    for name, values in (("One", ["1"]), ("Two", ["2", "3"]), ("None", [])):
        pairs = [{"namespace": "sheet", "value": value} for value in values]
        body = {"kind": "person", "name": name, "external_ids": pairs}
        assert (await empty.post("/v1/sources", json=body)).status_code == 201
    rows = await table(empty, "/v1/sources", columns="name,external_id.sheet", sort="created_at")
    assert [row["external_id.sheet"] for row in rows] == ["1", '["2","3"]', ""]


async def test_a_table_can_begin_with_a_mark_and_end_with_a_count(empty: Client) -> None:
    await empty.post("/v1/sources", json={"kind": "person", "name": "Lee"})
    asked = {"format": "csv", "columns": "name", "bom": "1", "trailer": "1"}
    answer = await empty.get("/v1/sources", params=asked)
    assert answer.content == "\ufeffname\r\nLee\r\n#count,1\r\n".encode()
    assert answer.headers["content-disposition"] == 'attachment; filename="sources.csv"'


@pytest.mark.parametrize("wrong", ["nothing", "id,id", "external_id.", ",", "id,"])
async def test_columns_that_are_not_there_are_refused(client: Client, wrong: str) -> None:
    answer = await client.get("/v1/claims", params={"format": "csv", "columns": wrong})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] == "columns"


async def test_the_text_of_an_article_comes_only_if_it_is_asked_for(client: Client) -> None:
    article = await create(
        client, EVERY[RecordType.ARTICLE], {"headline": "h", "text": "All of it."}
    )
    (row,) = await table(client, "/v1/articles", id__in=article.id)
    assert "text" not in row
    (row,) = await table(client, "/v1/articles", id__in=article.id, columns="headline,text")
    assert row == {"headline": "h", "text": "All of it."}


# --- places ----------------------------------------------------------------------------------


async def test_places_with_coordinates_are_features(empty: Client) -> None:
    places = [
        {"role": "event", "name": "Kursk", "latitude": 51.7, "longitude": 36.2},
        {"role": "event", "name": "nowhere"},
        {"role": "statement", "name": "Seoul", "latitude": 37.6, "longitude": 127},
    ]
    claim = await create(empty, EVERY[RecordType.CLAIM], {"text": "So it was.", "places": places})
    await create(empty, EVERY[RecordType.CLAIM])
    for path in ("/v1/claims", claim.path):
        answer = await empty.get(path, headers={"accept": "application/geo+json"})
        assert answer.headers["content-type"] == "application/geo+json"
        assert "etag" not in answer.headers
        found = answer.json()
        assert found["type"] == "FeatureCollection"
        assert [each["geometry"] for each in found["features"]] == [
            {"type": "Point", "coordinates": [36.2, 51.7]},
            {"type": "Point", "coordinates": [127, 37.6]},
        ]
        assert {each["id"].partition("#")[0] for each in found["features"]} == {claim.id}
        assert found["features"][0]["properties"]["text"] == "So it was."


# --- linked data -----------------------------------------------------------------------------


async def linked(client: Client, path: str) -> dict[str, Any]:
    """Read a record in the terms of schema.org."""
    answer = await client.get(path, headers={"accept": "application/ld+json"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/ld+json"
    assert "etag" not in answer.headers
    found: dict[str, Any] = answer.json()
    assert found["@id"] == f"urn:uuid:{path.rpartition('/')[2]}"
    return found


async def test_a_claim_an_article_and_a_denial_are_told_in_the_terms_of_schema_org(
    empty: Client,
) -> None:
    world = World(empty)
    await world.add("sources", "mp", name="Lee")
    await world.add("sources", "paper", name="The Paper", kind="organisation")
    day = {"earliest": "2024-12-19", "latest": "2024-12-19", "precision": "day"}
    year = {"earliest": "2024-01-01", "latest": "2024-12-31", "precision": "year"}
    await world.add("articles", "report", text="Lee says so.", publisher_id="@paper", published=day)
    await world.add("articles", "post", text="So it is.", kind="post")
    await world.add(
        "claims",
        "said",
        attributions=[{"source_id": "@mp"}],
        appearances=[{"article_id": "@report"}],
        places=[{"role": "event", "name": "Kursk", "latitude": 51.7, "longitude": 36.2}],
        assessments=[{"assessor": "The desk", "scheme": "three steps", "label": "unproven"}],
    )
    await world.add(
        "denials",
        "no",
        targets=[{"claim_id": "@said"}, {"text": "all of it"}],
        stated=year,
        validity="retracted",
    )
    claim = await linked(empty, world.at("said"))
    assert claim["@type"] == "Claim"
    assert claim["author"] == [
        {"@type": "Thing", "@id": f"urn:uuid:{world.id('mp')}", "name": "Lee"}
    ]
    assert claim["appearance"][0]["@id"] == f"urn:uuid:{world.id('report')}"
    assert claim["contentLocation"][0]["geo"]["latitude"] == 51.7
    (review,) = claim["review"]
    assert (review["@type"], review["author"]["name"]) == ("ClaimReview", "The desk")
    assert review["itemReviewed"] == {"@id": claim["@id"]}
    denial = await linked(empty, world.at("no"))
    assert denial["@type"] == ["Claim", "Comment"]
    assert denial["parentItem"] == [
        {"@id": claim["@id"]},
        {"@type": "Claim", "text": "all of it"},
    ]
    assert "review" not in denial
    assert "dateCreated" not in denial  # any day of the year is possible
    assert denial["creativeWorkStatus"] == "retracted"
    article = await linked(empty, world.at("report"))
    assert (article["@type"], article["articleBody"]) == ("NewsArticle", "Lee says so.")
    assert article["publisher"]["name"] == "The Paper"
    assert article["datePublished"] == "2024-12-19"
    assert (await linked(empty, world.at("post")))["@type"] == "SocialMediaPosting"
    answer = await empty.get(world.at("mp"), headers={"accept": "application/ld+json"})
    assert answer.status_code == 406


# --- annotations -----------------------------------------------------------------------------


async def test_the_words_of_an_article_are_web_annotations(
    empty: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Lee says that 100 died. The ministry says no."
    world = World(empty)
    await world.add("articles", "report", text=text)
    await world.add("articles", "other", text=text)

    def printed(article: str, *words: str) -> dict[str, Any]:
        spans = [
            {"start": text.index(each), "end": text.index(each) + len(each), "exact": each}
            for each in words
        ]
        return {"article_id": f"@{article}", "spans": spans}

    await world.add("claims", "second", appearances=[printed("report", "100 died", "died")])
    await world.add(
        "claims", "first", appearances=[printed("other", "100"), printed("report", "Lee says")]
    )
    await world.add("claims", "unprinted", appearances=[{"article_id": "@report"}])
    await world.add("denials", "no", appearances=[printed("report", "says no")])
    path = f"{world.at('report')}/annotations"

    async def pages(**asked: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        address = httpx.URL(path, params=asked)
        while True:
            answer = await empty.get(address)
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"] == (
                'application/ld+json; profile="http://www.w3.org/ns/anno.jsonld"'
            )
            page = answer.json()
            assert page["@context"] == "http://www.w3.org/ns/anno.jsonld"
            assert page["type"] == "AnnotationPage"
            found += page["items"]
            assert len(found) < 10
            if "next" not in page:
                return found
            address = httpx.URL(page["next"])

    items = await pages()
    whole = items.pop(3)
    quotes = [each["target"]["selector"][0]["exact"] for each in items]
    assert quotes == ["Lee says", "100 died", "died", "says no"]
    assert whole["body"]["id"] == f"urn:uuid:{world.id('unprinted')}"
    assert "selector" not in whole["target"]
    for each in items:
        quote, position = each["target"]["selector"]
        assert (quote["type"], position["type"]) == ("TextQuoteSelector", "TextPositionSelector")
        assert text[position["start"] : position["end"]] == quote["exact"]
        assert each["target"]["source"] == f"urn:uuid:{world.id('report')}"
        assert each["type"] == "Annotation"
    assert len({each["id"] for each in items}) == 4
    assert items[0]["body"]["id"] == f"urn:uuid:{world.id('first')}"
    assert items[-1]["body"]["type"] == "https://schema.org/Comment"
    items.insert(3, whole)
    assert await pages(limit=1) == items
    monkeypatch.setattr(web_annotations, "MAX_BYTES", 1)
    assert await pages() == items
    absent = await empty.get(f"/v1/articles/{uuid4()}/annotations")
    assert absent.status_code == 404
    of_list = cursor.fingerprint("annotations", world.id("report"))
    forged = await empty.get(path, params={"cursor": cursor.write(of_list, ["source", None])})
    assert (forged.status_code, forged.json()["code"]) == (400, "invalid-cursor")
