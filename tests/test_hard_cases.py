"""The hard cases of the model, by their numbers in the design; each on records of its own."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.world import World, faults, span


@pytest.fixture
def world(client: httpx.AsyncClient) -> World:
    return World(client)


async def test_1_one_response_to_many_claims_keeps_them_from_deletion(world: World) -> None:
    names = [f"c{number}" for number in range(40)]
    for name in names:
        await world.add("claims", name)
    await world.add("denials", "d", targets=[{"claim_id": f"@{name}"} for name in names])
    assert await world.ask("claims", "response_family=denies") == set(names)
    for name in ("c0", "c39"):
        assert await world.ask("denials", f"claim_id=@{name}") == {"d"}
        response = await world.delete(name)
        assert response.status_code == 409
        problem = response.json()
        assert problem["type"] == "/v1/problems/still-referenced"
        assert problem["referrers"] == [{"type": "denial", "id": world.id("d"), "link": "target"}]
        assert (await world.get(name))["version"] == 1
    # Killed is not deleted: the denial and its target stay.
    await world.patch("c0", review_status="killed")
    assert (await world.get("d"))["targets"][0]["claim_id"] == world.id("c0")


async def test_2_a_response_is_not_a_denial(world: World) -> None:
    await world.add("sources", "statement")
    for name in ("deliveries", "soldiers", "losses"):
        await world.add("claims", name)
    await world.add(
        "denials",
        "neither_nor",
        kind="neither_confirms_nor_denies",
        targets=[
            {"claim_id": "@deliveries"},
            {"claim_id": "@soldiers", "coverage": "ambiguous"},
        ],
    )
    await world.add(
        "denials",
        "silence",
        kind="omission",
        scope_source_id="@statement",
        targets=[{"claim_id": "@losses", "coverage": "inferred"}],
    )
    every = {"deliveries", "soldiers", "losses"}
    explicit = "response_family=declines&response_coverage=explicit"
    assert await world.ask("claims", "response_family=denies") == set()
    assert await world.ask("claims", "without_response_family=denies") == every
    assert await world.ask("claims", explicit) == {"deliveries"}

    await world.add("denials", "denial", targets=[{"claim_id": "@deliveries"}])
    assert await world.ask("claims", "response_family=denies") == {"deliveries"}
    assert await world.ask("claims", explicit) == {"deliveries"}

    await world.patch("denial", validity="retracted")
    assert await world.ask("claims", "response_family=denies") == set()
    assert await world.ask("claims", "without_response_family=denies") == every


@pytest.mark.parametrize("validity", ["retracted", "softened", "hardened", "superseded"])
async def test_3_a_denial_that_gave_way_stays_readable(world: World, validity: str) -> None:
    await world.add("claims", "c")
    target = [{"claim_id": "@c"}]
    await world.add("denials", "old", targets=target, kind="full_denial")
    await world.add("denials", "new", targets=target, kind="declined_to_comment")
    await world.patch("old", validity=validity, superseded_by_id="@new")

    assert await world.ask("denials", "claim_id=@c") == {"old", "new"}
    assert await world.ask("denials", "claim_id=@c&validity=standing") == {"new"}
    assert await world.ask("denials", f"claim_id=@c&validity={validity}") == {"old"}
    old = await world.get("old")
    assert (old["text"], old["superseded_by_id"]) == ("They answer", world.id("new"))
    first = await world.client.get(f"{world.at('old')}/revisions/1")
    assert first.json()["record"]["validity"] == "standing"
    assert await world.ask("claims", "response_kind=full_denial") == set()
    # What it gave way to can't be lost by accident.
    assert (await world.delete("new")).status_code == 409


async def test_4_a_claim_may_be_about_a_claim(world: World) -> None:
    await world.add("claims", "inner", text="Missiles are exported")
    await world.add(
        "claims",
        "outer",
        text="The export is condemned",
        relations=[{"claim_id": "@inner", "kind": "about"}],
    )
    await world.patch("inner", embedding="embedded", parent_claim_id="@outer")
    assert await world.ask("claims", "parent_claim_id=@outer") == {"inner"}
    assert await world.ask("claims", "related_to=@inner&relation_kind=about") == {"outer"}
    for name in ("inner", "outer"):
        assert (await world.delete(name)).status_code == 409


async def test_4_a_denial_may_be_denied(world: World) -> None:
    await world.add("claims", "c")
    await world.add("denials", "denial", targets=[{"claim_id": "@c"}])
    answer = {"targets": [{"denial_id": "@denial"}], "kind": "disputes_characterisation"}
    await world.add("denials", "answer", **answer)
    await world.add("denials", "rejoinder", targets=[{"denial_id": "@answer"}])
    assert await world.ask("denials", "denial_id=@denial") == {"answer"}
    assert await world.ask("denials", "denial_id=@answer") == {"rejoinder"}
    # To deny a denial is not to deny the claim, nor to take the denial back.
    assert await world.ask("denials", "claim_id=@c") == {"denial"}
    assert await world.ask("claims", "response_family=denies") == {"c"}


async def test_4_a_claim_may_be_disowned(world: World) -> None:
    await world.add("sources", "minister")
    await world.add("claims", "c", attributions=[{"source_id": "@minister"}])
    await world.add(
        "denials",
        "never_said_it",
        kind="disowns_statement",
        targets=[{"claim_id": "@c"}],
        attributions=[{"source_id": "@minister"}],
    )
    claim = await world.patch("c", validity="disowned")
    assert claim["attributions"][0]["source_id"] == world.id("minister")
    assert await world.ask("claims", "claimant_id=@minister&validity=disowned") == {"c"}
    assert await world.ask("claims", "response_kind=disowns_statement") == {"c"}


async def test_5_second_hand_is_found_by_claimant_and_by_origin(world: World) -> None:
    for name in ("lee", "nis", "briefing", "parliament"):
        await world.add("sources", name)
    hops: list[dict[str, Any]] = [
        {"position": 0, "source_id": "@lee", "cue": "claimed"},
        {
            "position": 1,
            "source_id": "@nis",
            "role": "cited",
            "via_id": "@briefing",
            "audience_id": "@parliament",
        },
    ]
    # The order in which hops are written is not the order of the chain.
    for name, chain in (("forward", hops), ("backward", hops[::-1])):
        claim = await world.add("claims", name, attributions=chain)
        cited = next(hop for hop in claim["attributions"] if hop["position"] == 1)
        assert cited["via_id"] == world.id("briefing")
        assert cited["audience_id"] == world.id("parliament")
    both = {"forward", "backward"}
    assert await world.ask("claims", "claimant_id=@lee") == both
    assert await world.ask("claims", "origin_id=@nis") == both
    assert await world.ask("claims", "claimant_id=@lee&origin_id=@nis") == both
    assert await world.ask("claims", "via_id=@briefing") == both
    # The vehicle is not a hop, and neither end is the other.
    for wrong in ("claimant_id=@nis", "origin_id=@lee", "origin_id=@briefing"):
        assert await world.ask("claims", wrong) == set()


FIGURES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "at least 100": (
        {"qualifier": "at_least", "lower": 100},
        {"100", "1000", "10000", "12000", "1e9"},
    ),
    "approaching 1,000": ({"qualifier": "approaching", "upper": 1000}, {"100", "1000"}),
    "between 10,000 and 12,000": (
        {"qualifier": "between", "lower": 10_000, "upper": 12_000},
        {"10000", "12000"},
    ),
    "several hundreds": (
        {
            "qualifier": "vague",
            "term": "several hundreds",
            "reading": {"lower": 200, "upper": 999, "rule": "several is two or more"},
        },
        set(),
    ),
    "heavy": ({"qualifier": "vague", "term": "heavy"}, set()),
}


@pytest.mark.parametrize("printed", FIGURES)
async def test_9_a_number_that_is_not_one_number_is_kept_as_printed(
    world: World, printed: str
) -> None:
    given, found_by = FIGURES[printed]
    figure = {"metric": "losses", "unit": "person", "printed": printed} | given
    await world.add("claims", "c", quantities=[figure])
    kept = (await world.get("c"))["quantities"][0]
    reading = {"reading": None} if "reading" not in given else {}
    assert {key: value for key, value in kept.items() if value is not None} | reading == (
        figure | reading
    )
    assert await world.ask("claims", "metric=losses") == {"c"}
    for number in ("100", "1000", "10000", "12000", "1e9"):
        query = f"metric=losses&quantity_from={number}&quantity_to={number}"
        assert await world.ask("claims", query) == ({"c"} if number in found_by else set())


async def test_9_an_editors_reading_is_not_the_printed_figure(world: World) -> None:
    figure = {"metric": "losses", "unit": "person", "printed": "heavy", "qualifier": "vague"}
    refused = await world.refused("claims", quantities=[figure | {"term": "heavy", "lower": 100}])
    assert refused == {"/quantities/0/lower": "not-allowed"}


@pytest.mark.parametrize("translated", [None, True, False])
async def test_10_whether_a_quotation_is_translated_may_be_unknown(
    world: World, translated: bool | None
) -> None:
    text = "🌊 “Normal”, it called the alliance."
    await world.add("articles", "a", text=text)
    appearance = {"quote_language": "ko", "quote_type": "direct", "translated": translated}
    words = {"article_id": "@a", "spans": [span(text, "Normal")]}
    claim = await world.add("claims", "c", appearances=[words | appearance])
    assert claim["appearances"][0].items() >= appearance.items()
    # Saying nothing is to say that it is unknown.
    left_out = await world.add("claims", "d", appearances=[words])
    assert left_out["appearances"][0]["translated"] is None


async def test_11_a_joint_statement_is_found_by_a_member(world: World) -> None:
    for name in ("us", "ukraine", "bystander"):
        await world.add("sources", name, kind="state")
    unnamed = {"kind": "group", "name": None, "identification": "collective"}
    size = {"lower": 9, "upper": 9}
    nine = await world.add("sources", "nine", **unnamed, description="nine", group_size=size)
    assert nine["members"] == []
    await world.add(
        "sources",
        "ten",
        **unnamed,
        description="the US and nine other countries",
        group_size={"lower": 10, "upper": 10},
        members=[{"source_id": "@us", "role": "signatory"}, {"source_id": "@nine"}],
    )
    statement = {"kind": "joint_statement", "name": "joint statement"}
    await world.add("sources", "statement", **statement, members=[{"source_id": "@ten"}])
    await world.add("claims", "joint", attributions=[{"source_id": "@ten", "via_id": "@statement"}])
    await world.add("claims", "own", attributions=[{"source_id": "@us"}])
    assert await world.ask("claims", "source_id=@us") == {"joint", "own"}
    assert await world.ask("claims", "source_id=@nine") == {"joint"}
    assert await world.ask("claims", "source_id=@bystander") == set()
    # Claimant means claimant: the group spoke, not its member.
    assert await world.ask("claims", "claimant_id=@us") == {"own"}

    # A member that joins later is found from then on, one that leaves no longer.
    await world.patch("nine", members=[{"source_id": "@ukraine"}])
    assert await world.ask("claims", "source_id=@ukraine") == {"joint"}
    await world.patch("nine", members=[])
    assert await world.ask("claims", "source_id=@ukraine") == set()


@pytest.mark.parametrize("kind", ["document", "media_item"])
async def test_12_a_document_or_a_picture_may_claim(world: World, kind: str) -> None:
    source = await world.add("sources", "thing", kind=kind, name=None, description="found papers")
    assert (source["identification"], source["members"]) == ("described", [])
    await world.add("claims", "c", attributions=[{"source_id": "@thing"}], kind="media_content")
    assert await world.ask("claims", "claimant_id=@thing&origin_id=@thing&attributed=true") == {"c"}
    # Once its author is known, asking by the author finds it, and the claimant stays the thing.
    await world.add("sources", "author")
    await world.patch("thing", members=[{"source_id": "@author", "role": "author"}])
    assert await world.ask("claims", "source_id=@author") == {"c"}
    assert await world.ask("claims", "claimant_id=@author") == set()


async def test_13_silence_is_bounded_by_where_one_looked(world: World) -> None:
    await world.add("sources", "statement")
    await world.add("claims", "c")
    silence: dict[str, Any] = {"kind": "omission", "targets": [{"claim_id": "@c"}]}
    assert await world.refused("denials", **silence) == {"/scope_source_id": "required"}
    denial = await world.add("denials", "d", scope_source_id="@statement", **silence)
    assert (denial["family"], denial["observed_by"]) == ("silent", "article_observation")
    assert (await world.delete("statement")).status_code == 409
    response = await world.put("d", {key: denial[key] for key in ("text", "kind", "targets")})
    assert faults(response) == {"/scope_source_id": "required"}
    # Other silences are not bounded by a statement.
    for kind in ("did_not_respond", "could_not_be_reached"):
        await world.add("denials", kind, kind=kind)


async def test_14_what_nobody_said_is_listed_as_unattributed(world: World) -> None:
    text = "🌊 Lee spoke. The men were said to have suffered heavy losses."
    await world.add("sources", "lee")
    await world.add("articles", "a", text=text)
    await world.add(
        "claims",
        "spoken",
        attributions=[{"source_id": "@lee"}],
        appearances=[{"article_id": "@a", "spans": [span(text, "Lee spoke")]}],
    )
    nobody = {"cue": "were said to", "printed": "were said to have suffered"}
    claim = await world.add(
        "claims",
        "losses",
        attributions=[nobody],
        appearances=[{"article_id": "@a", "spans": [span(text, "heavy losses")]}],
    )
    assert claim["attributions"][0]["source_id"] is None
    assert claim["attributions"][0]["resolution"] == "unresolved"
    await world.add("claims", "voiced", attributions=[{"role": "author_voice"}])
    await world.add("claims", "bare")
    assert await world.ask("claims", "attributed=false") == {"losses", "voiced", "bare"}
    assert await world.ask("claims", "attributed=true") == {"spoken"}
    for asked in ("claimant_id", "origin_id", "source_id"):
        assert await world.ask("claims", f"{asked}=@lee") == {"spoken"}


async def test_15_the_papers_distance_is_not_the_speakers_hedge(world: World) -> None:
    text = "🌊 the alleged missile trade, which may grow"
    await world.add("articles", "a", text=text)
    printed = {
        "article_id": "@a",
        "stance": "distancing",
        "spans": [span(text, "missile trade", prefix="alleged ")],
    }
    await world.add("claims", "c", certainty="certain", appearances=[printed])

    hedged = await world.patch("c", certainty="possible")
    assert hedged["appearances"][0]["stance"] == "distancing"
    assert hedged["certainty"] == "possible"

    endorsed = await world.patch("c", appearances=[printed | {"stance": "endorsing"}])
    assert endorsed["appearances"][0]["stance"] == "endorsing"
    assert endorsed["appearances"][0]["anchor"] == "exact"
    assert endorsed["certainty"] == "possible"
