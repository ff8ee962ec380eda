"""What others' formats demand, held against every such answer about the sample records.

Linked data is read by pyld, without a network. The rules of the Web Annotation Data Model (W3C,
2017) and of GeoJSON (RFC 7946) stand here with their sections.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pyld import jsonld

from api.questions.annotations import CONTEXT, MEDIA_TYPE, PROFILE
from schemas.vocabularies import RecordType
from tests.conftest import cloned, serving
from tests.factories import EVERY, Client, create, prerequisites
from tests.test_demo import LINES, load
from tests.world import World, span

Json = dict[str, Any]


@pytest.fixture(scope="module")
async def demo(template: str) -> AsyncIterator[Client]:
    """Run a service that has the sample records and nothing else."""
    async with cloned(template) as url, serving(url) as client:
        *_, totals = await load(client, atomic="true")
        assert totals["committed"]
        yield client


def paths(record_type: RecordType) -> list[str]:
    """List the paths of the sample records of a type."""
    of_type = [line for line in LINES if line["type"] == record_type]
    return [f"{EVERY[record_type].path}/{line['id']}" for line in of_type]


async def read(client: Client, path: str, media_type: str) -> Json:
    """Read an answer of a media type."""
    answer = await client.get(path, headers={"accept": media_type})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].partition(";")[0] == media_type
    found: Json = answer.json()
    return found


# --- JSON-LD ---------------------------------------------------------------------------------

SCHEMA = "https://schema.org/"
ANNOTATION_TERMS: Json = {
    "oa": "http://www.w3.org/ns/oa#",
    "as": "http://www.w3.org/ns/activitystreams#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "id": "@id",
    "type": "@type",
    **{name: f"oa:{name}" for name in ("Annotation", "SpecificResource")},
    **{name: f"oa:{name}" for name in ("TextQuoteSelector", "TextPositionSelector")},
    **{name: f"oa:{name}" for name in ("identifying", "describing", "linking")},
    **{name: {"@id": f"oa:{name}", "@type": "xsd:string"} for name in ("exact", "prefix")},
    "suffix": {"@id": "oa:suffix", "@type": "xsd:string"},
    **{name: {"@id": f"oa:{name}", "@type": "xsd:nonNegativeInteger"} for name in ("start", "end")},
    "motivation": {"@id": "oa:motivatedBy", "@type": "@vocab"},
    **{
        name: {"@id": f"oa:has{name.title()}", "@type": "@id"}
        for name in ("body", "target", "source", "selector")
    },
    "AnnotationPage": "as:OrderedCollectionPage",
    "AnnotationCollection": "as:OrderedCollection",
    "items": {"@id": "as:items", "@type": "@id", "@container": "@list"},
    "next": {"@id": "as:next", "@type": "@id"},
    "total": {"@id": "as:totalItems", "@type": "xsd:nonNegativeInteger"},
}
"""The terms of our answers as the context of Web Annotations defines them."""


def expanded(document: Json) -> list[Json]:
    """Expand a document; only the context of Web Annotations is there to be fetched."""

    def stored(address: str, _: Any) -> Json:
        assert address == CONTEXT, f"{address} would be fetched"
        context = {"@context": ANNOTATION_TERMS}
        return {"contextUrl": None, "documentUrl": address, "document": context}

    found: list[Json] = jsonld.expand(document, {"documentLoader": stored})
    return found


def keys(value: Any) -> Iterator[str]:
    """Yield each key of a document that is no keyword, once for each time it is there."""
    if isinstance(value, list):
        for item in value:
            yield from keys(item)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "@context":
                if not key.startswith("@"):
                    yield key
                yield from keys(inner)


def leaves(value: Any) -> Iterator[str]:
    """Yield each value that is no object and no list, as text."""
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "@context":
                yield from leaves(inner)
    else:
        yield str(value)


def assert_nothing_is_lost(document: Json, terms: Json) -> None:
    """See that each key and each value of a document is in its expanded form.

    `terms` are the IRIs of the terms that are not those of schema.org under the same name.
    """
    found = expanded(document)

    def iri(name: str) -> str:
        term: str = terms.get(name, SCHEMA + name)
        return term

    wanted = Counter(iri(key) for key in keys(document) if not iri(key).startswith("@"))
    assert Counter(keys(found)) == wanted
    there = set(leaves(found))
    assert {each for each in leaves(document) if not {each, iri(each)} & there} == set()


@pytest.mark.parametrize("record_type", [RecordType.CLAIM, RecordType.ARTICLE, RecordType.DENIAL])
async def test_pyld_expands_every_record_without_loss_of_a_term(
    demo: Client, record_type: RecordType
) -> None:
    for path in paths(record_type):
        document = await read(demo, path, "application/ld+json")
        assert isinstance(document["@context"], dict)  # it is in the answer, not fetched
        assert_nothing_is_lost(document, {})


async def test_pyld_expands_a_record_in_which_everything_is_known(empty: Client) -> None:
    ids = await prerequisites(empty)
    for record_type in (RecordType.CLAIM, RecordType.ARTICLE, RecordType.DENIAL):
        noun = EVERY[record_type]
        record = await create(empty, noun, noun.full(ids))
        assert_nothing_is_lost(await read(empty, record.path, "application/ld+json"), {})


async def test_pyld_expands_every_page_of_annotations(demo: Client) -> None:
    defined = {
        name: term["@id"] if isinstance(term, dict) else term
        for name, term in ANNOTATION_TERMS.items()
    }
    terms = {
        name: term.replace("oa:", defined["oa"]).replace("as:", defined["as"])
        for name, term in defined.items()
    }
    async for page in pages(demo):
        assert_nothing_is_lost(page, terms)


# --- Web Annotation Data Model -----------------------------------------------------------------

_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+\Z")
"""An IRI has a scheme (RFC 3987, section 2.2); without one, it is a relative reference."""
MOTIVATIONS = {"identifying", "describing", "linking"}


async def pages(client: Client, **asked: Any) -> AsyncIterator[Json]:
    """Yield every page of annotations of the sample articles."""
    for path in paths(RecordType.ARTICLE):
        async for page in pages_of(client, path, **asked):
            yield page


async def pages_of(client: Client, path: str, **asked: Any) -> AsyncIterator[Json]:
    """Yield every page of annotations of an article, by the addresses in the pages."""
    address = httpx.URL(f"{path}/annotations", params=asked)
    for _ in range(1_000):
        answer = await client.get(address)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == f"{MEDIA_TYPE}; {PROFILE}"
        page = answer.json()
        yield page
        if "next" not in page:
            return
        address = httpx.URL(page["next"])
    raise AssertionError("the pages have no end")


def assert_is_iri(value: Any) -> None:
    assert isinstance(value, str)
    assert _IRI.match(value), value


def assert_is_page(page: Json) -> None:
    """See that a page keeps section 5.2, or, if there are no annotations at all, section 5.1."""
    assert page["@context"] == CONTEXT  # 5.2: one of the contexts; 3.1: a single one is a string
    assert_is_iri(page["id"])  # 5.2: exactly 1 IRI
    if page["type"] == "AnnotationCollection":
        assert page["total"] == 0  # 5.1: only such a collection has no `first`
        assert not page["items"]
        return
    assert page["type"] == "AnnotationPage"  # 5.2: this class
    assert isinstance(page["items"], list)  # 5.2: an array
    assert page["items"]  # 5.2: of 1 or more annotations
    if "next" in page:
        assert_is_iri(page["next"])  # 5.2: a reference to the IRI of the page that follows
    for each in page["items"]:
        assert_is_annotation(each)
    ids = [each["id"] for each in page["items"]]
    assert len(set(ids)) == len(ids)


def assert_is_annotation(annotation: Json) -> None:
    """See that an annotation keeps sections 3 and 4; its context is that of its page."""
    assert_is_iri(annotation["id"])  # 3.1: exactly 1 IRI
    assert annotation["type"] == "Annotation"  # 3.1: this class
    assert annotation["motivation"] in MOTIVATIONS  # 3.3.5: instances that it defines
    assert_is_iri(annotation["body"]["id"])  # 3.2.1: exactly 1 `id` with the IRI
    assert_is_iri(annotation["body"]["type"])  # 3.2.2: of another vocabulary
    target = annotation["target"]  # 3.1: 1 or more targets
    assert target["type"] == "SpecificResource"  # 4: SHOULD
    assert_is_iri(target["source"])  # 4: exactly 1 source
    for selector in target.get("selector", ()):
        assert_is_selector(selector)


def assert_is_selector(selector: Json) -> None:
    """See that a selector keeps sections 4.2.4 and 4.2.5."""
    if selector["type"] == "TextQuoteSelector":  # 4.2.4: exactly 1 type
        for name in ("exact", "prefix", "suffix"):  # 4.2.4: exactly 1; not more than 1
            assert isinstance(selector[name], str)
    else:
        assert selector["type"] == "TextPositionSelector"  # 4.2.5: exactly 1 type
        for name in ("start", "end"):  # 4.2.5: exactly 1 non-negative integer
            assert type(selector[name]) is int
            assert selector[name] >= 0


async def test_every_annotation_keeps_the_model_of_the_w3c(demo: Client) -> None:
    counts = Counter[str]()
    for asked in ({}, {"limit": 1}):
        async for page in pages(demo, **asked):
            assert_is_page(page)
            counts[str(asked)] += len(page["items"])
    assert len(set(counts.values())) == 1
    assert all(counts.values())


async def test_every_annotation_selects_its_words_in_code_points(demo: Client) -> None:
    """Section 4.2.4: in code points, not in code units, in logical order."""
    for path in paths(RecordType.ARTICLE):
        text = (await demo.get(path)).json()["text"] or ""
        async for page in pages_of(demo, path):
            for each in page["items"]:
                match each["target"].get("selector", ()):
                    case [quote, position]:
                        words = text[position["start"] : position["end"]]
                        assert not text or words == quote["exact"]


async def test_no_page_of_annotations_is_empty(empty: Client) -> None:
    """Whichever of the two lists has nothing, or nothing with words."""
    world = World(empty)
    text = "Lee says so. 🎉 The ministry says no."
    for name in ("nothing", "claims", "denials", "both"):
        await world.add("articles", name, text=text)

    def printed(name: str, *words: str) -> dict[str, Any]:
        spans = [span(text, each) for each in words]
        return {"appearances": [{"article_id": f"@{name}", "spans": spans}]}

    await world.add("claims", "c1", **printed("claims", "Lee says so"))
    await world.add("claims", "c2", **printed("claims"))
    await world.add("denials", "d1", **printed("denials", "says no"))
    await world.add("claims", "c3", **printed("both"))
    await world.add("denials", "d2", **printed("both"))
    counts = {"nothing": 0, "claims": 2, "denials": 1, "both": 2}
    for name, count in counts.items():
        for asked in ({}, {"limit": 1}):
            found = [page async for page in pages_of(empty, world.at(name), **asked)]
            for page in found:
                assert_is_page(page)
            assert sum(len(page["items"]) for page in found) == count
    (page,) = [page async for page in pages_of(empty, world.at("nothing"))]
    assert page["type"] == "AnnotationCollection"
    assert page["id"] == f"http://127.0.0.1{world.at('nothing')}/annotations"
    [first, second] = [page async for page in pages_of(empty, world.at("both"))]
    assert first["items"][0]["motivation"] == second["items"][0]["motivation"] == "linking"
    assert "selector" not in first["items"][0]["target"]


async def test_lost_words_have_no_place_in_the_text(empty: Client) -> None:
    """Their offsets are those of an earlier text, and would select other words."""
    world = World(empty)
    text = "Lee says so."
    await world.add("articles", "report", text=text)
    appearance = {"article_id": "@report", "spans": [span(text, "Lee says so")]}
    await world.add("claims", "said", appearances=[appearance])
    await world.patch("report", text="Nobody said a word.")
    [page] = [page async for page in pages_of(empty, world.at("report"))]
    assert_is_page(page)
    [quote] = page["items"][0]["target"]["selector"]
    assert (quote["type"], quote["exact"]) == ("TextQuoteSelector", "Lee says so")


# --- GeoJSON -----------------------------------------------------------------------------------

GEOMETRIES = {
    "Point": 0,
    "MultiPoint": 1,
    "LineString": 1,
    "MultiLineString": 2,
    "Polygon": 2,
    "MultiPolygon": 3,
}
"""How deep the positions are in the lists of each geometry (section 3.1)."""


def positions(coordinates: Any, depth: int) -> Iterator[list[float]]:
    """Yield the positions of a geometry."""
    if depth == 0:
        yield coordinates
        return
    for each in coordinates:
        yield from positions(each, depth - 1)


def assert_is_position(position: Any) -> None:
    assert isinstance(position, list)
    assert len(position) in (2, 3)  # 3.1.1: no fewer than 2, and SHOULD be no more than 3
    assert all(type(number) in (int, float) for number in position)
    longitude, latitude = position[:2]  # 3.1.1: easting, then northing
    assert -180 <= longitude <= 180  # 4: decimal degrees in WGS 84
    assert -90 <= latitude <= 90


def assert_is_ring(ring: list[list[float]], *, outer: bool) -> None:
    assert len(ring) >= 4  # 3.1.6: closed, with four or more positions
    assert ring[0] == ring[-1]  # 3.1.6: the first and the last are the same
    pairs = pairwise(ring)
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)
    assert area > 0 if outer else area < 0  # 3.1.6: the right-hand rule


def assert_is_geometry(geometry: Any) -> None:
    assert geometry["type"] in GEOMETRIES  # 3.1: one of the types; case-sensitive (1.4)
    found = list(positions(geometry["coordinates"], GEOMETRIES[geometry["type"]]))
    for position in found:
        assert_is_position(position)
    polygons = {"Polygon": [geometry["coordinates"]], "MultiPolygon": geometry["coordinates"]}
    for polygon in polygons.get(geometry["type"], ()):
        for number, ring in enumerate(polygon):
            assert_is_ring(ring, outer=number == 0)
    # 7.1: a geometry has no member that defines another type.
    assert not geometry.keys() & {"geometry", "properties", "features", "geometries"}


def assert_is_collection(collection: Json) -> None:
    """See that a collection of features keeps RFC 7946."""
    assert collection["type"] == "FeatureCollection"  # 3.3
    assert isinstance(collection["features"], list)  # 3.3: an array
    assert "crs" not in collection  # 4: removed
    assert not collection.keys() & {"coordinates", "geometries", "geometry", "properties"}  # 7.1
    for each in (collection, *collection["features"]):
        if "bbox" in each:  # 5: 2*n numbers, all lowest before all highest
            half = len(each["bbox"]) // 2
            assert half in (2, 3)
            lowest, highest = each["bbox"][:half], each["bbox"][half:]
            assert_is_position(lowest)
            assert_is_position(highest)
            assert lowest[1] <= highest[1]
    for feature in collection["features"]:
        assert feature["type"] == "Feature"  # 3.2
        assert "crs" not in feature  # 4
        assert type(feature["id"]) in (str, int, float)  # 3.2: a string or a number
        assert feature["properties"] is None or isinstance(feature["properties"], dict)  # 3.2
        if feature["geometry"] is not None:  # 3.2: a geometry or null
            assert_is_geometry(feature["geometry"])
        assert not feature.keys() & {"coordinates", "geometries", "features"}  # 7.1


def test_the_rules_of_geojson_are_applied_here() -> None:
    ring = [[0, 0], [1, 0], [1, 1], [0, 0]]
    assert_is_geometry({"type": "Polygon", "coordinates": [ring]})
    for wrong in (ring[::-1], ring[:3], [[0, 0], [1, 0], [181, 1], [0, 0]]):
        with pytest.raises(AssertionError):
            assert_is_geometry({"type": "Polygon", "coordinates": [wrong]})


async def test_places_keep_rfc_7946(demo: Client, empty: Client) -> None:
    geojson = "application/geo+json"
    assert_is_collection(await read(demo, "/v1/claims", geojson))
    for path in paths(RecordType.CLAIM):
        assert_is_collection(await read(demo, path, geojson))
    places = [
        {"role": "event", "name": str(uuid4()), "latitude": latitude, "longitude": longitude}
        for longitude, latitude in ((-180, -90), (180, 90), (0.1, -0.5), (127, 37.6))
    ]
    await create(empty, EVERY[RecordType.CLAIM], {"text": "So it was.", "places": places})
    found = await read(empty, "/v1/claims", geojson)
    assert_is_collection(found)
    assert [each["geometry"]["coordinates"] for each in found["features"]] == [
        [place["longitude"], place["latitude"]] for place in places
    ]
