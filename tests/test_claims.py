"""What is promised of claims beyond the common contract: their rules, defaults and questions."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.world import NEEDED_BY, World, content, faults

SAMPLES: dict[str, Any] = {"value": 5, "lower": 3, "upper": 7, "term": "heavy"}


def figure(qualifier: str = "exact", **fields: Any) -> dict[str, Any]:
    """Write a figure with what its qualifier needs."""
    given = {name: SAMPLES[name] for name in NEEDED_BY[qualifier]} | fields
    return {
        "metric": "killed",
        "unit": "person",
        "qualifier": qualifier,
        "printed": "so many",
    } | given


@pytest.fixture
def world(client: httpx.AsyncClient) -> World:
    return World(client)


# --- defaults --------------------------------------------------------------------------------


async def test_a_claim_needs_only_its_text(world: World) -> None:
    claim = await world.add("claims", "c")
    assert content(claim) == {
        "text": "Something is so",
        "language": "und",
        "kind": None,
        "speech_act": None,
        "certainty": "unspecified",
        "polarity": "positive",
        "embedding": "asserted",
        "parent_claim_id": None,
        "attributions": [],
        "appearances": [],
        "quantities": [],
        "parties": [],
        "places": [],
        "stated": None,
        "occurred": None,
        "relations": [],
        "validity": "standing",
        "review_status": "draft",
        "embargoed_until": None,
        "extraction": None,
        "assessments": [],
        "external_ids": [],
        "tags": [world.tag],
        "note": None,
    }


async def test_a_claim_without_text_is_refused(client: httpx.AsyncClient) -> None:
    assert faults(await client.post("/v1/claims", json={})) == {"/text": "required"}


async def test_the_parts_of_a_claim_have_their_defaults(world: World) -> None:
    await world.add("sources", "s")
    await world.add("claims", "other")
    claim = await world.add(
        "claims",
        "c",
        attributions=[
            {"source_id": "@s"},
            {"position": 1},
            {"position": 2, "role": "author_voice"},
        ],
        quantities=[figure()],
        parties=[{"source_id": "@s", "role": "victim"}],
        places=[{"role": "event", "name": "Kursk"}],
        stated={},
        relations=[{"claim_id": "@other", "kind": "about"}],
        extraction={"method": "manual", "agent": "desk"},
        assessments=[{"assessor": "A", "scheme": "B", "label": "C"}],
    )
    hop = {
        "position": 0,
        "source_id": world.id("s"),
        "via_id": None,
        "audience_id": None,
        "role": "claimant",
        "printed": None,
        "cue": None,
        "ground_rules": None,
        "resolution": "certain",
        "note": None,
    }
    nobody = hop | {"source_id": None, "resolution": "unresolved"}
    assert claim["attributions"] == [
        hop,
        nobody | {"position": 1},
        nobody | {"position": 2, "role": "author_voice"},
    ]
    unknown = dict.fromkeys(["lower", "upper", "term", "population", "cumulative", "as_of"])
    assert claim["quantities"] == [figure() | unknown | {"reading": None}]
    assert claim["parties"] == [{"source_id": world.id("s"), "role": "victim", "printed": None}]
    assert claim["places"] == [
        {
            "role": "event",
            "name": "Kursk",
            **dict.fromkeys(("country_code", "qualifier", "precision", "uncertainty_m")),
            **dict.fromkeys(("latitude", "longitude")),
        }
    ]
    assert claim["stated"] == {
        "expression": None,
        "earliest": None,
        "latest": None,
        "precision": "unknown",
    }
    assert claim["relations"] == [
        {
            "claim_id": world.id("other"),
            "kind": "about",
            "basis": "editor",
            "state": "confirmed",
            "confidence": None,
            "note": None,
        }
    ]
    assert claim["extraction"]["agent_version"] is claim["extraction"]["confidence"] is None
    rating = claim["assessments"][0]
    assert [key for key, value in rating.items() if value is not None] == [
        "assessor",
        "scheme",
        "label",
    ]


# --- attributions ----------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", ["certain", "probable", "ambiguous"])
async def test_a_hop_without_a_source_says_why(world: World, resolution: str) -> None:
    hop = {"resolution": resolution}
    refused = await world.refused("claims", attributions=[{}, hop])
    assert refused == {"/attributions/1/source_id": "source-needed"}
    voiced = [{"role": "author_voice"} | hop]
    claim = await world.add("claims", "voiced", attributions=voiced)
    assert claim["attributions"][0]["resolution"] == resolution


async def test_a_source_may_be_given_and_in_doubt(world: World) -> None:
    await world.add("sources", "s")
    for resolution in ("certain", "probable", "ambiguous", "unresolved"):
        hop = {"source_id": "@s", "resolution": resolution}
        claim = await world.add("claims", resolution, attributions=[hop])
        assert claim["attributions"][0]["resolution"] == resolution


async def test_a_position_lies_between_0_and_499(world: World) -> None:
    for position in (-1, 500, 0.5):
        refused = await world.refused("claims", attributions=[{"position": position}])
        assert set(refused) == {"/attributions/0/position"}


async def test_a_chain_has_at_most_500_hops(world: World) -> None:
    hops = [{"position": position} for position in range(500)]
    claim = await world.add("claims", "c", attributions=hops)
    assert [hop["position"] for hop in claim["attributions"]] == list(range(500))
    assert await world.refused("claims", attributions=[*hops, {}]) == {
        "/attributions": "invalid-value"
    }


# --- places ------------------------------------------------------------------------------------


def place(**fields: Any) -> dict[str, Any]:
    return {"role": "event", "name": "Kursk", **fields}


async def test_a_place_has_coordinates(world: World) -> None:
    found = {
        "latitude": 51.73, "longitude": -36, "precision": "province", "uncertainty_m": 100_000.5,
    }  # fmt: skip
    claim = await world.add("claims", "c", places=[place(**found), place(precision="country")])
    assert [{name: each[name] for name in found} for each in claim["places"]] == [
        found,
        {**dict.fromkeys(found), "precision": "country"},
    ]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"latitude": 1}, {"longitude": "required"}),
        ({"longitude": 1}, {"latitude": "required"}),
        ({"uncertainty_m": 5}, {"uncertainty_m": "not-allowed"}),
        ({"latitude": 90.1, "longitude": 0}, {"latitude": "invalid-value"}),
        ({"latitude": 0, "longitude": -180.5}, {"longitude": "invalid-value"}),
        ({"latitude": 0, "longitude": 0, "uncertainty_m": -1}, {"uncertainty_m": "invalid-value"}),
        ({"latitude": 0.1234567890123456, "longitude": 0}, {"latitude": "too-precise"}),
    ],
)
async def test_coordinates_that_say_nothing_are_refused(
    world: World, fields: dict[str, Any], fault: dict[str, str]
) -> None:
    refused = await world.refused("claims", places=[place(**fields)])
    assert refused == {f"/places/0/{name}": code for name, code in fault.items()}


# --- figures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("qualifier", NEEDED_BY)
async def test_a_figure_has_what_its_qualifier_needs(world: World, qualifier: str) -> None:
    claim = await world.add("claims", "c", quantities=[figure(qualifier)])
    kept = {name: claim["quantities"][0][name] for name in SAMPLES}
    assert kept == {
        name: SAMPLES[name] if name in NEEDED_BY[qualifier] else None for name in SAMPLES
    }


OTHERS = [pair for pair in itertools.product(NEEDED_BY, SAMPLES) if pair != ("between", "value")]


@pytest.mark.parametrize(("qualifier", "field"), OTHERS)
async def test_a_figure_has_nothing_else(world: World, qualifier: str, field: str) -> None:
    if field in NEEDED_BY[qualifier]:
        wrong, code = figure(qualifier, **{field: None}), "required"
    else:
        wrong, code = figure(qualifier, **{field: SAMPLES[field]}), "not-allowed"
    refused = await world.refused("claims", quantities=[figure(), wrong])
    assert refused == {f"/quantities/1/{field}": code}


async def test_a_range_has_a_best_estimate_inside_it(world: World) -> None:
    claim = await world.add("claims", "c", quantities=[figure("between", value=3)])
    assert claim["quantities"][0]["value"] == 3
    for value in (2, 7.5):
        refused = await world.refused("claims", quantities=[figure("between", value=value)])
        assert refused == {"/quantities/0/value": "out-of-order"}


async def test_a_range_of_figures_is_in_order(world: World) -> None:
    refused = await world.refused(
        "claims",
        quantities=[
            figure("between", lower=7, upper=3),
            figure("vague", reading={"lower": 300, "upper": 200, "rule": "several is three"}),
            figure("vague", reading={"rule": "none"}),
        ],
    )
    assert refused == {
        "/quantities/0/upper": "out-of-order",
        "/quantities/1/reading/upper": "out-of-order",
        "/quantities/2/reading/lower": "required",
    }


async def test_a_figure_needs_its_printed_words_metric_unit_and_qualifier(world: World) -> None:
    for field in ("printed", "metric", "unit", "qualifier"):
        wrong = figure()
        del wrong[field]
        refused = await world.refused("claims", quantities=[wrong])
        assert refused == {f"/quantities/0/{field}": "required"}


async def test_a_metric_may_be_one_of_its_own_in_snake_case(world: World) -> None:
    claim = await world.add("claims", "c", quantities=[figure(metric="drones_shot_down")])
    assert claim["quantities"][0]["metric"] == "drones_shot_down"
    for metric in ("Killed", "shot down", "_killed", "tués", "killed\n"):
        refused = await world.refused("claims", quantities=[figure(metric=metric)])
        assert refused == {"/quantities/0/metric": "invalid-value"}


WRITTEN = [
    ("10000", "10000"),
    ("1e4", "10000"),
    ("1E+4", "10000"),
    ("10000.0", "10000"),
    ("0.5", "0.5"),
    ("12.50", "12.5"),
    ("-3", "-3"),
    ("-0.0", "0"),
    ("999999999999999", "999999999999999"),
    ("123456789.012345", "123456789.012345"),
]


@pytest.mark.parametrize(("sent", "kept"), WRITTEN)
async def test_a_number_leaves_in_one_spelling(world: World, sent: str, kept: str) -> None:
    fields = f'"metric":"m","unit":"u","qualifier":"exact","printed":"p","value":{sent}'
    reading = f'"reading":{{"lower":{sent},"rule":"r"}}'
    written = await raw(world.client, f'"quantities":[{{{fields},{reading}}}]')
    assert f'"value":{kept},"lower":null' in written
    assert f'"reading":{{"lower":{kept},"upper":null' in written


@pytest.mark.parametrize(("sent", "kept"), WRITTEN)
async def test_the_numbers_of_a_rating_leave_in_one_spelling(
    world: World, sent: str, kept: str
) -> None:
    rating = f'"assessor":"a","scheme":"s","label":"l","value":{sent},"best":{sent},"worst":{sent}'
    written = await raw(world.client, f'"assessments":[{{{rating}}}]')
    assert f'"value":{kept},"best":{kept},"worst":{kept},' in written


@pytest.mark.parametrize("sent", ["1", "1.0", "1e0"])
async def test_a_confidence_leaves_in_one_spelling(world: World, sent: str) -> None:
    extraction = f'{{"method":"model","agent":"m","confidence":{sent}}}'
    assert '"confidence":1}' in await raw(world.client, f'"extraction":{extraction}')


async def raw(client: httpx.AsyncClient, fields: str) -> str:
    """Create a claim from JSON as it is written here; give the JSON that leaves, read anew."""
    response = await client.post(
        "/v1/claims",
        content=f'{{"text":"t",{fields}}}',
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 201, response.text
    again = await client.get(f"/v1/claims/{response.json()['id']}")
    assert again.content == response.content
    return again.text


@pytest.mark.parametrize("number", [1_000_000_000_000_000, -1_000_000_000_000_000, 1e15, 2**63])
async def test_a_number_beyond_fifteen_digits_is_refused(world: World, number: float) -> None:
    refused = await world.refused(
        "claims",
        quantities=[figure(value=number)],
        assessments=[{"assessor": "a", "scheme": "s", "label": "l", "value": number}],
    )
    assert refused == {
        "/quantities/0/value": "invalid-value",
        "/assessments/0/value": "invalid-value",
    }


@pytest.mark.parametrize("number", [0.1234567890123456, 12345678901234.56, 0.1 + 0.2])
async def test_a_number_of_more_than_fifteen_digits_is_refused(world: World, number: float) -> None:
    refused = await world.refused(
        "claims",
        quantities=[
            figure(value=number),
            figure("between", lower=number, upper=LARGEST),
            figure("vague", reading={"upper": number, "rule": "r"}),
        ],
    )
    assert refused == {
        "/quantities/0/value": "too-precise",
        "/quantities/1/lower": "too-precise",
        "/quantities/2/reading/upper": "too-precise",
    }
    rating = {"assessor": "a", "scheme": "s", "label": "l", "best": number}
    refused = await world.refused("claims", assessments=[rating])
    assert refused == {"/assessments/0/best": "too-precise"}


LARGEST = 999_999_999_999_999


async def test_a_confidence_lies_between_0_and_1(world: World) -> None:
    await world.add("claims", "other")
    for confidence, code in ((-0.1, "invalid-value"), (2, "invalid-value"), (1 / 3, "too-precise")):
        refused = await world.refused(
            "claims",
            extraction={"method": "model", "agent": "m", "confidence": confidence},
            relations=[{"claim_id": "@other", "kind": "about", "confidence": confidence}],
        )
        assert refused == {
            "/extraction/confidence": code,
            "/relations/0/confidence": code,
        }


# --- embedding, relations, parties -----------------------------------------------------------


@pytest.mark.parametrize("embedding", ["embedded", "presupposed"])
async def test_a_claim_inside_another_names_it(world: World, embedding: str) -> None:
    refused = await world.refused("claims", embedding=embedding)
    assert refused == {"/parent_claim_id": "required"}
    await world.add("claims", "parent")
    inner = {"embedding": embedding, "parent_claim_id": "@parent"}
    child = await world.add("claims", "child", **inner)
    assert child["parent_claim_id"] == world.id("parent")


async def test_an_asserted_claim_may_have_a_parent(world: World) -> None:
    await world.add("claims", "parent")
    child = await world.add("claims", "child", parent_claim_id="@parent")
    assert (child["embedding"], child["parent_claim_id"]) == ("asserted", world.id("parent"))


async def test_a_mention_twice_is_refused(world: World) -> None:
    await world.add("claims", "other")
    await world.add("sources", "s")
    relation = {"claim_id": "@other", "kind": "about"}
    party = {"source_id": "@s", "role": "actor"}
    outside = {"namespace": "n", "value": uuid4().hex}
    refused = await world.refused(
        "claims",
        relations=[relation, {"claim_id": "@other", "kind": "restates"}, relation],
        parties=[party, {"source_id": "@s", "role": "victim"}, party | {"printed": "them"}],
        tags=["a", "b", "a"],
        external_ids=[outside, outside],
    )
    assert refused == {
        "/relations/2": "duplicate-item",
        "/parties/2": "duplicate-item",
        "/tags/2": "duplicate-item",
        "/external_ids/1": "duplicate-item",
    }


async def test_a_claim_does_not_refer_to_itself(world: World) -> None:
    await world.add("claims", "c")
    own = {"parent_claim_id": "@c", "relations": [{"claim_id": "@c", "kind": "about"}]}
    refused = faults(await world.put("c", {"text": "t"} | own))
    pointers = {"/parent_claim_id", "/relations/0/claim_id"}
    assert refused == dict.fromkeys(pointers, "self-reference")
    assert (await world.get("c"))["version"] == 1


async def test_what_a_claim_refers_to_exists(world: World) -> None:
    source, article, claim = (str(uuid4()) for _ in range(3))
    refused = await world.refused(
        "claims",
        parent_claim_id=claim,
        attributions=[{"source_id": source, "via_id": source, "audience_id": source}],
        appearances=[{"article_id": article}, {"article_id": article, "article_version": 3}],
        parties=[{"source_id": source, "role": "actor"}],
        relations=[{"claim_id": claim, "kind": "about"}],
    )
    pointers = {
        "/parent_claim_id",
        "/attributions/0/source_id",
        "/attributions/0/via_id",
        "/attributions/0/audience_id",
        "/appearances/0/article_id",
        "/appearances/1/article_id",
        "/parties/0/source_id",
        "/relations/0/claim_id",
    }
    assert refused == dict.fromkeys(pointers, "unknown-reference")


async def test_a_reference_to_nothing_is_said_by_its_type(world: World) -> None:
    response = await world.client.post(
        "/v1/claims", json={"text": "t", "parent_claim_id": str(uuid4())}
    )
    assert response.json()["type"] == "/v1/problems/unknown-reference"


async def test_a_reference_to_another_type_is_one_to_nothing(world: World) -> None:
    await world.add("claims", "c")
    refused = await world.refused("claims", attributions=[{"source_id": "@c"}])
    assert refused == {"/attributions/0/source_id": "unknown-reference"}


async def test_a_reference_to_a_deleted_record_is_one_to_nothing(world: World) -> None:
    await world.add("claims", "c")
    assert (await world.delete("c")).status_code == 204
    refused = await world.refused("claims", parent_claim_id="@c")
    assert refused == {"/parent_claim_id": "unknown-reference"}


@pytest.mark.parametrize("kind", ["conflicts_with", "same_origin_as", "overlaps"])
async def test_a_symmetric_relation_is_stored_once(world: World, kind: str) -> None:
    await world.add("claims", "a")
    await world.add("claims", "b", relations=[{"claim_id": "@a", "kind": kind}])
    there = {"relations": [{"claim_id": "@b", "kind": kind}]}
    response = await world.put("a", {"text": "t"} | there)
    assert response.status_code == 409
    assert response.json()["type"] == "/v1/problems/relation-exists"
    assert (await world.get("a"))["relations"] == []
    # A relation of another kind is another relation, and the first end may be written again.
    await world.patch("a", relations=[{"claim_id": "@b", "kind": "about"}])
    again = [{"claim_id": "@a", "kind": kind, "state": "rejected"}]
    assert (await world.patch("b", relations=again))["relations"][0]["state"] == "rejected"
    # Taken out at the one end, it may be written at the other.
    await world.patch("b", relations=[])
    await world.patch("a", **there)


async def test_a_directed_relation_may_run_both_ways(world: World) -> None:
    await world.add("claims", "a")
    await world.add("claims", "b", relations=[{"claim_id": "@a", "kind": "evidence_for"}])
    await world.patch("a", relations=[{"claim_id": "@b", "kind": "evidence_for"}])


# --- times and languages ---------------------------------------------------------------------

ORDERED = [
    ("2024-12-19", "2024-12-19", True),
    ("2024-12-19", "2024-12-20", True),
    ("2024-12-20", "2024-12-19", False),
    ("2024-12-21", "2024-12-19", False),
    ("2024-12-19T10:00:00Z", "2024-12-19T10:00:00Z", True),
    ("2024-12-19T10:00:00Z", "2024-12-19T09:59:59.999999Z", False),
    ("2024-12-19T23:59:59Z", "2024-12-19", True),
    ("2024-12-20T00:00:00Z", "2024-12-19", False),
    ("2024-12-20T01:00:00+02:00", "2024-12-19", True),
    ("2024-12-19", "2024-12-19T00:00:00Z", True),
    ("2024-12-19", "2024-12-18T23:59:59Z", False),
]


@pytest.mark.parametrize(("earliest", "latest", "in_order"), ORDERED)
async def test_the_bounds_of_a_time_are_in_order(
    world: World, earliest: str, latest: str, in_order: bool
) -> None:
    time = {"earliest": earliest, "latest": latest, "precision": "day"}
    response = await world.client.post("/v1/claims", json={"text": "t", "stated": time})
    if in_order:
        assert response.status_code == 201, response.text
        assert response.json()["stated"] == time | {"expression": None}
    else:
        assert faults(response) == {"/stated/latest": "out-of-order"}


async def test_a_date_on_no_calendar_is_refused(world: World) -> None:
    refused = await world.refused(
        "claims",
        stated={"earliest": "2024-02-30"},
        occurred={"earliest": "2023-02-29T10:00:00Z", "latest": "2023-04-31"},
        embargoed_until="2024-06-31T10:00:00Z",
        quantities=[figure(as_of="2100-02-29")],
        assessments=[
            {"assessor": "a", "scheme": "s", "label": "l", "published_at": "2024-11-31"},
        ],
    )
    pointers = {
        "/stated/earliest",
        "/occurred/earliest",
        "/occurred/latest",
        "/embargoed_until",
        "/quantities/0/as_of",
        "/assessments/0/published_at",
    }
    assert refused == dict.fromkeys(pointers, "impossible-date")


@pytest.mark.parametrize(
    "bound",
    [
        "2024-13-01",
        "2024-1-1",
        "2024",
        "19.12.2024",
        "2024-12-19T10:00:00",
        "2024-12-19T10:00Z",
        "2024-12-19T24:00:00Z",
        "2024-12-19 10:00:00Z",
        "0999-01-01",
        "2024-12-19\n",
        "",
    ],
)
async def test_a_bound_is_a_date_or_an_instant(world: World, bound: str) -> None:
    refused = await world.refused("claims", stated={"earliest": bound})
    assert refused == {"/stated/earliest": "invalid-value"}


async def test_words_that_nobody_resolved_are_legal(world: World) -> None:
    claim = await world.add("claims", "c", stated={"expression": "on Monday"})
    assert claim["stated"]["expression"] == "on Monday"
    assert claim["stated"]["earliest"] is claim["stated"]["latest"] is None


async def test_an_embargo_is_kept_in_utc(world: World) -> None:
    for sent, kept in [
        ("2030-01-01T00:30:00+05:30", "2029-12-31T19:00:00Z"),
        ("2030-01-01T00:00:00.5Z", "2030-01-01T00:00:00.500000Z"),
        ("2030-01-01T00:00:00.000000Z", "2030-01-01T00:00:00Z"),
    ]:
        claim = await world.add("claims", sent, embargoed_until=sent)
        assert claim["embargoed_until"] == kept
        assert (await world.patch(sent, embargoed_until=sent))["version"] == 1


@pytest.mark.parametrize("embargo", ["1000-01-01T00:00:00+14:00", "2999-12-31T23:59:59-14:00"])
async def test_an_embargo_that_utc_puts_beyond_the_calendar_is_refused(
    world: World, embargo: str
) -> None:
    # Kept, it would be a record that can't be written again.
    assert set(await world.refused("claims", embargoed_until=embargo)) == {"/embargoed_until"}


@pytest.mark.parametrize("tag", ["en", "und", "ko", "zh-Hant-TW", "de-CH-1996", "x-newsroom"])
async def test_a_language_is_a_tag(world: World, tag: str) -> None:
    assert (await world.add("claims", "c", language=tag))["language"] == tag


@pytest.mark.parametrize("tag", ["", "en_GB", "en-", "englishes-x", "e n", "en\n", "한국어"])
async def test_a_language_is_no_other_text(world: World, tag: str) -> None:
    assert await world.refused("claims", language=tag) == {"/language": "invalid-value"}


async def test_an_external_id_is_unique_among_claims(world: World) -> None:
    outside = {"namespace": "n", "value": uuid4().hex}
    await world.add("claims", "c", external_ids=[outside])
    response = await world.client.post("/v1/claims", json={"text": "t", "external_ids": [outside]})
    assert response.json()["type"] == "/v1/problems/not-unique"
    assert faults(response, 409) == {"/external_ids": "not-unique"}
    for plural in ("sources", "articles", "denials"):
        await world.add(plural, plural, external_ids=[outside])


# --- what can be asked -----------------------------------------------------------------------


@pytest.fixture(scope="module")
async def chains(client: httpx.AsyncClient) -> World:
    """Claims with all sorts of chains, parties and relations."""
    world = World(client)
    for name in ("lee", "nis", "ministry", "briefing", "parliament", "troops", "ally", "loner"):
        await world.add("sources", name, name=name)
    await world.add("sources", "inner", kind="group", members=[{"source_id": "@ally"}])
    await world.add("sources", "outer", kind="group", members=[{"source_id": "@inner"}])
    # The loner is a member of the last group in two ways.
    await world.add("sources", "ring1", kind="group", members=[{"source_id": "@loner"}])
    ways = [{"source_id": "@ring1"}, {"source_id": "@loner"}]
    await world.add("sources", "ring2", kind="group", members=ways)
    await world.add("articles", "stored", text="Nothing much was said.")
    await world.add("articles", "unstored")
    lee = {"source_id": "@lee"}
    cited = {"position": 1, "source_id": "@nis", "role": "cited"}
    carried = cited | {"via_id": "@briefing", "audience_id": "@parliament"}
    await world.add(
        "claims",
        "briefed",
        attributions=[lee, carried],
        parties=[
            {"source_id": "@troops", "role": "victim"},
            {"source_id": "@nis", "role": "topic"},
        ],
        appearances=[{"article_id": "@stored"}],
        kind="quantity",
        speech_act="claim",
        certainty="probable",
        language="en",
    )
    await world.add("claims", "alone", attributions=[{"source_id": "@nis"}], kind="event")
    await world.add("claims", "murky", attributions=[lee, {"position": 1}], polarity="negative")
    both = [lee, cited, cited | {"source_id": "@ministry"}]
    await world.add("claims", "two_origins", attributions=both, validity="disowned")
    await world.add("claims", "grouped", attributions=[{"source_id": "@outer"}])
    await world.add("claims", "ringed", attributions=[{"source_id": "@ring2"}])
    await world.add("claims", "unsaid", review_status="published")
    await world.add("claims", "unresolved", attributions=[{}, {"position": 1}])
    await world.add("claims", "carried", attributions=[{"via_id": "@briefing"}])
    await world.add("claims", "voiced", attributions=[{"role": "author_voice"}])
    await world.add(
        "claims",
        "related",
        relations=[
            {"claim_id": "@briefed", "kind": "restates"},
            {"claim_id": "@alone", "kind": "conflicts_with", "state": "suggested"},
        ],
        parties=[{"source_id": "@troops", "role": "actor"}],
        appearances=[{"article_id": "@unstored"}],
    )
    inner = {"embedding": "embedded", "parent_claim_id": "@briefed"}
    await world.add(
        "claims", "held", relations=[{"claim_id": "@related", "kind": "about"}], **inner
    )
    return world


ALL = {"briefed", "alone", "murky", "two_origins", "grouped", "ringed", "unsaid", "unresolved"} | {
    "carried", "voiced", "related", "held",
}  # fmt: skip
UNKNOWN = {"unsaid", "unresolved", "carried", "voiced", "related", "held"}

ASKED: list[tuple[str, set[str]]] = [
    ("", ALL),
    ("claimant_id=@lee", {"briefed", "murky", "two_origins"}),
    ("claimant_id=@nis", {"alone"}),
    ("claimant_id=@ally", set()),
    # The highest position is the origin, also where nobody stands there.
    ("origin_id=@nis", {"briefed", "alone", "two_origins"}),
    ("origin_id=@ministry", {"two_origins"}),
    ("origin_id=@lee", set()),
    ("origin_id=@outer", {"grouped"}),
    ("claimant_id=@lee&origin_id=@nis", {"briefed", "two_origins"}),
    ("source_id=@nis", {"briefed", "alone", "two_origins"}),
    ("source_id=@lee", {"briefed", "murky", "two_origins"}),
    ("source_id=@briefing", {"briefed", "carried"}),
    ("source_id=@parliament", {"briefed"}),
    ("source_id=@troops", set()),
    ("source_id=@ally", {"grouped"}),
    ("source_id=@inner", {"grouped"}),
    ("source_id=@outer", {"grouped"}),
    ("source_id=@loner", {"ringed"}),
    ("source_id=@ring1", {"ringed"}),
    ("source_id=@ring2", {"ringed"}),
    ("via_id=@briefing", {"briefed", "carried"}),
    ("via_id=@parliament", set()),
    ("party_id=@troops", {"briefed", "related"}),
    ("party_id=@troops&party_role=victim", {"briefed"}),
    # The role and the party are one party's.
    ("party_id=@troops&party_role=topic", set()),
    ("party_id=@lee", set()),
    ("article_id=@stored", {"briefed"}),
    ("article_id=@unstored", {"related"}),
    ("related_to=@briefed", {"related"}),
    ("related_to=@related", {"briefed", "alone", "held"}),
    ("related_to=@related&relation_kind=conflicts_with", {"alone"}),
    ("related_to=@alone&relation_kind=conflicts_with", {"related"}),
    ("related_to=@alone&relation_kind=restates", set()),
    ("related_to=@murky", set()),
    ("parent_claim_id=@briefed", {"held"}),
    ("parent_claim_id=@held", set()),
    ("attributed=false", UNKNOWN),
    ("attributed=true", ALL - UNKNOWN),
    ("anchor=exact", {"briefed"}),
    ("anchor=unverified", {"related"}),
    ("anchor=orphaned", set()),
    ("kind=quantity", {"briefed"}),
    ("kind__in=quantity&kind__in=event", {"briefed", "alone"}),
    # What is not known is not another kind.
    ("kind__nin=quantity", {"alone"}),
    ("kind__nin=quantity&kind__nin=event", set()),
    ("speech_act=claim", {"briefed"}),
    ("certainty__nin=unspecified", {"briefed"}),
    ("polarity=negative", {"murky"}),
    ("embedding=embedded", {"held"}),
    ("validity=disowned", {"two_origins"}),
    ("validity__nin=standing", {"two_origins"}),
    ("review_status=published", {"unsaid"}),
    ("review_status__in=published&review_status__in=draft", ALL),
    ("language=en", {"briefed"}),
    ("id__in=@alone&id__in=@murky&id__in=@lee", {"alone", "murky"}),
    ("claimant_id=@lee&kind=quantity&anchor=exact&attributed=true", {"briefed"}),
    ("claimant_id=@lee&kind=event", set()),
]


@pytest.mark.parametrize(("query", "names"), ASKED, ids=[query or "all" for query, _ in ASKED])
async def test_claims_can_be_asked(chains: World, query: str, names: set[str]) -> None:
    assert await chains.ask("claims", query) == names


async def test_what_a_claim_no_longer_says_does_not_find_it(world: World) -> None:
    for name in ("old", "new"):
        await world.add("sources", name)
    hop = {"source_id": "@old", "via_id": "@old"}
    await world.add("claims", "c", attributions=[hop], quantities=[figure(value=1)])
    await world.patch("c", attributions=[{"source_id": "@new"}], quantities=[figure(value=9)])
    for query in (
        "claimant_id=@old",
        "via_id=@old",
        "source_id=@old",
        "metric=killed&quantity_to=5",
    ):
        assert await world.ask("claims", query) == set()
    for query in ("claimant_id=@new", "origin_id=@new", "metric=killed&quantity_from=5"):
        assert await world.ask("claims", query) == {"c"}
    await world.delete("c")
    assert await world.ask("claims", "claimant_id=@new") == set()
    assert (await world.delete("new")).status_code == 204


@pytest.fixture(scope="module")
async def figures(client: httpx.AsyncClient) -> World:
    """Claims with a figure of each qualifier around 100."""
    world = World(client)
    for qualifier in set(NEEDED_BY) - {"between", "vague"}:
        (field,) = NEEDED_BY[qualifier]
        await world.add("claims", qualifier, quantities=[figure(qualifier, **{field: 100})])
    await world.add("claims", "between", quantities=[figure("between", lower=100, upper=200)])
    reading = {"lower": 50, "upper": 150, "rule": "heavy is about a hundred"}
    await world.add("claims", "vague", quantities=[figure("vague", reading=reading)])
    injured = figure(metric="injured", value=1000)
    await world.add("claims", "two", quantities=[figure(value=10), injured, figure(value=5000)])
    await world.add("claims", "none")
    return world


POINT = {"exact", "approximately"}
UP, DOWN = {"at_least", "more_than"}, {"at_most", "fewer_than", "approaching"}

RANGES: list[tuple[str, set[str]]] = [
    ("metric=killed", {*POINT, *UP, *DOWN, "between", "vague", "two"}),
    ("metric=injured", {"two"}),
    ("metric=losses", set()),
    ("metric=killed&quantity_from=100", {*POINT, *UP, "at_most", "approaching", "between", "two"}),
    ("metric=killed&quantity_from=100.5", {*UP, "between", "two"}),
    ("metric=killed&quantity_from=200", {*UP, "between", "two"}),
    ("metric=killed&quantity_from=200.5", {*UP, "two"}),
    ("metric=killed&quantity_to=100", {*POINT, "at_least", *DOWN, "between", "two"}),
    ("metric=killed&quantity_to=99.5", {*DOWN, "two"}),
    ("metric=killed&quantity_to=9", DOWN),
    (
        "metric=killed&quantity_from=100&quantity_to=100",
        {*POINT, "at_least", "at_most", "approaching", "between"},
    ),
    ("metric=killed&quantity_from=99.5&quantity_to=1e2", {*POINT, "at_least", *DOWN, "between"}),
    ("metric=killed&quantity_from=100&quantity_to=100.5", {*POINT, *UP, "at_most", "approaching"}
     | {"between"}),
    # Metric and range are of the same figure, and so are both ends of the range.
    ("metric=killed&quantity_from=900&quantity_to=1100", UP),
    ("metric=injured&quantity_from=900&quantity_to=1100", {"two"}),
    ("metric=injured&quantity_to=10", set()),
]  # fmt: skip


@pytest.mark.parametrize(("query", "names"), RANGES, ids=[query for query, _ in RANGES])
async def test_claims_are_found_by_their_figures(
    figures: World, query: str, names: set[str]
) -> None:
    assert await figures.ask("claims", query) == names


async def test_a_range_of_figures_does_not_end_before_it_begins(client: httpx.AsyncClient) -> None:
    query = "metric=killed&quantity_from=5&quantity_to=4.5"
    answer = await client.get(f"/v1/claims?{query}")
    assert answer.status_code == 400
    assert [error["parameter"] for error in answer.json()["errors"]] == ["quantity_to"]


@pytest.mark.parametrize("query", ["quantity_from=1", "quantity_to=1", "party_role=actor"])
async def test_half_a_question_is_refused(client: httpx.AsyncClient, query: str) -> None:
    response = await client.get(f"/v1/claims?{query}")
    assert response.status_code == 400
    assert response.json()["errors"][0]["parameter"] == query.partition("=")[0]


@pytest.fixture(scope="module")
async def answered(client: httpx.AsyncClient) -> World:
    """Claims with all sorts of responses."""
    world = World(client)
    await world.add("sources", "statement")
    for name in (
        "denied",
        "inferred",
        "declined",
        "retracted",
        "silent",
        "both",
        "dropped",
        "none",
    ):
        await world.add("claims", name)

    async def answer(kind: str, *targets: tuple[str, str], **fields: Any) -> str:
        name = f"{kind} of {targets}"
        to = [{"claim_id": f"@{claim}", "coverage": coverage} for claim, coverage in targets]
        await world.add("denials", name, kind=kind, targets=to, **fields)
        return name

    await answer("full_denial", ("denied", "explicit"), ("inferred", "inferred"))
    await answer("neither_confirms_nor_denies", ("declined", "explicit"), ("both", "explicit"))
    await answer("disputes_figures", ("both", "ambiguous"))
    await answer("full_denial", ("retracted", "explicit"), validity="retracted")
    scope = {"scope_source_id": "@statement"}
    await answer("omission", ("silent", "inferred"), **scope)
    await world.delete(await answer("full_denial", ("dropped", "explicit")))
    return world


EVERY = {"denied", "inferred", "declined", "retracted", "silent", "both", "dropped", "none"}
DENIED = {"denied", "inferred", "both"}

RESPONSES: list[tuple[str, set[str]]] = [
    ("response_family=denies", DENIED),
    ("response_family=declines", {"declined", "both"}),
    ("response_family=silent", {"silent"}),
    ("response_family=concedes", set()),
    ("response_kind=full_denial", {"denied", "inferred"}),
    ("response_kind=disputes_figures", {"both"}),
    ("response_coverage=explicit", {"denied", "declined", "both"}),
    ("response_coverage=inferred", {"inferred", "silent"}),
    # Family and coverage are one response's.
    ("response_family=denies&response_coverage=explicit", {"denied"}),
    ("response_family=denies&response_coverage=ambiguous", {"both"}),
    ("response_family=declines&response_kind=full_denial", set()),
    ("without_response_family=denies", EVERY - DENIED),
    ("without_response_family=concedes", EVERY),
    ("response_family=declines&without_response_family=denies", {"declined"}),
    ("response_family__in=declines&response_family__in=silent", {"declined", "both", "silent"}),
    (
        "without_response_family__in=declines&without_response_family__in=denies",
        EVERY - DENIED - {"declined"},
    ),
    ("responded=true", DENIED | {"declined"}),
    ("responded=false", EVERY - DENIED - {"declined"}),
]


@pytest.mark.parametrize(("query", "names"), RESPONSES, ids=[query for query, _ in RESPONSES])
async def test_claims_are_found_by_the_responses_that_stand(
    answered: World, query: str, names: set[str]
) -> None:
    assert await answered.ask("claims", query) == names


@pytest.fixture(scope="module")
async def dated(client: httpx.AsyncClient) -> World:
    """Claims stated, and happened, around 19 December 2024."""
    world = World(client)
    times = {
        "day": {"earliest": "2024-12-19", "latest": "2024-12-19"},
        # In UTC this is the 20th.
        "late": {"earliest": "2024-12-19T23:30:00-02:00", "latest": "2024-12-19T23:30:00-02:00"},
        "week": {"earliest": "2024-12-16", "latest": "2024-12-22"},
        "only_earliest": {"earliest": "2024-12-01"},
        "only_latest": {"latest": "2024-12-31"},
        "words": {"expression": "on Monday"},
    }
    for name, time in times.items():
        await world.add("claims", name, stated=time, occurred=time)
    await world.add("claims", "never")
    return world


DATES: list[tuple[str, set[str]]] = [
    ("gte=2024-12-19", {"day", "late", "week", "only_latest"}),
    ("gte=2024-12-20", {"late", "week", "only_latest"}),
    ("gt=2024-12-19", {"late", "week", "only_latest"}),
    ("gt=2024-12-20", {"week", "only_latest"}),
    ("lte=2024-12-19", {"day", "week", "only_earliest"}),
    ("lt=2024-12-19", {"week", "only_earliest"}),
    ("lt=2024-12-16", {"only_earliest"}),
    ("gte=2024-12-20T01:30:00Z", {"late", "week", "only_latest"}),
    ("gt=2024-12-20T01:30:00Z", {"week", "only_latest"}),
    ("gte=2024-12-20T02:30:00+01:00", {"late", "week", "only_latest"}),
    ("lte=2024-12-20T01:30:00Z", {"day", "late", "week", "only_earliest"}),
    ("lt=2024-12-20T01:30:00Z", {"day", "week", "only_earliest"}),
    ("gte=2024-12-19T23:59:59.999999Z", {"day", "late", "week", "only_latest"}),
    ("gt=2024-12-19T23:59:59.999999Z", {"late", "week", "only_latest"}),
    ("gte=2025-01-01", set()),
]


@pytest.mark.parametrize("field", ["stated", "occurred"])
@pytest.mark.parametrize(("comparison", "names"), DATES, ids=[query for query, _ in DATES])
async def test_claims_are_found_by_their_times(
    dated: World, field: str, comparison: str, names: set[str]
) -> None:
    assert await dated.ask("claims", f"{field}__{comparison}") == names


async def test_two_ends_of_a_time_are_asked_together(dated: World) -> None:
    found = await dated.ask("claims", "stated__gte=2024-12-20&stated__lt=2024-12-21")
    assert found == {"late", "week"}
