"""What is promised of denials beyond the common contract: their rules, defaults and questions."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.world import World, content, faults

FAMILIES = {
    "denies": [
        "full_denial",
        "partial_denial",
        "disputes_figures",
        "disputes_responsibility",
        "denies_knowledge",
        "disowns_statement",
    ],
    "deflects": [
        "non_denial_denial",
        "disputes_characterisation",
        "justification",
        "counter_accusation",
        "source_attack",
        "demands_evidence",
    ],
    "declines": ["neither_confirms_nor_denies", "declined_to_comment"],
    "silent": ["did_not_respond", "could_not_be_reached", "omission"],
    "concedes": ["affirmation", "apology"],
    "supports": ["third_party_support", "third_party_confirmation"],
    "unspecified": ["unspecified"],
}
FAMILY_OF = [(kind, family) for family, kinds in FAMILIES.items() for kind in kinds]


@pytest.fixture
def world(client: httpx.AsyncClient) -> World:
    return World(client)


# --- defaults and computed fields ------------------------------------------------------------


async def test_a_denial_needs_only_its_text_kind_and_a_target(world: World) -> None:
    denial = await world.add("denials", "d")
    assert content(denial) == {
        "text": "They answer",
        "language": "und",
        "kind": "full_denial",
        "observed_by": "responder_statement",
        "scope_source_id": None,
        "targets": [
            {
                "claim_id": None,
                "denial_id": None,
                "article_id": None,
                "text": "all of it",
                "coverage": "explicit",
                "aspect": None,
            }
        ],
        "attributions": [],
        "appearances": [],
        "stated": None,
        "review_status": "draft",
        "embargoed_until": None,
        "extraction": None,
        "validity": "standing",
        "superseded_by_id": None,
        "quantities": [],
        "family": "denies",
        "external_ids": [],
        "tags": [world.tag],
        "note": None,
    }


async def test_a_denial_without_text_kind_or_targets_is_refused(client: httpx.AsyncClient) -> None:
    refused = faults(await client.post("/v1/denials", json={}))
    assert refused == dict.fromkeys(["/text", "/kind", "/targets"], "required")


@pytest.mark.parametrize(("kind", "family"), FAMILY_OF)
async def test_a_kind_has_its_family_and_its_observer(world: World, kind: str, family: str) -> None:
    await world.add("sources", "statement")
    denial = await world.add("denials", "d", kind=kind, scope_source_id="@statement")
    assert denial["family"] == family
    silent = family == "silent"
    assert denial["observed_by"] == ("article_observation" if silent else "responder_statement")
    for observer in ("article_observation", "responder_statement"):
        told = {"kind": kind, "observed_by": observer, "scope_source_id": "@statement"}
        assert (await world.add("denials", observer, **told))["observed_by"] == observer


async def test_a_denial_disputes_a_figure_with_its_own(world: World) -> None:
    figure = {"metric": "killed", "unit": "person", "qualifier": "fewer_than", "upper": 50}
    figure["printed"] = "fewer than 50"
    denial = await world.add("denials", "d", kind="disputes_figures", quantities=[figure])
    assert denial["quantities"][0].items() >= figure.items()
    refused = await world.refused("denials", quantities=[figure | {"value": 3}])
    assert refused == {"/quantities/0/value": "not-allowed"}


async def test_a_family_follows_the_kind(world: World) -> None:
    await world.add("denials", "d", kind="full_denial")
    denial = await world.patch("d", kind="declined_to_comment")
    assert denial["family"] == "declines"
    assert await world.ask("denials", "family=declines") == {"d"}
    assert await world.ask("denials", "family=denies") == set()


async def test_a_family_can_only_be_sent_back_as_it_was(world: World) -> None:
    denial = await world.add("denials", "d")
    assert (await world.put("d", denial)).status_code == 200
    refused = faults(await world.put("d", denial | {"family": "silent"}))
    assert refused == {"/family": "read-only"}
    assert (await world.get("d")) == denial


# --- rules -----------------------------------------------------------------------------------


async def test_an_omission_is_bounded_by_where_one_looked(world: World) -> None:
    assert await world.refused("denials", kind="omission") == {"/scope_source_id": "required"}
    await world.add("denials", "d")
    response = await world.client.patch(
        world.at("d"),
        json={"kind": "omission"},
        headers={"content-type": "application/merge-patch+json", "if-match": "*"},
    )
    assert faults(response) == {"/scope_source_id": "required"}


async def test_a_denial_answers_something(world: World) -> None:
    assert await world.refused("denials", targets=[]) == {"/targets": "invalid-value"}


async def test_a_target_is_exactly_one_thing(world: World) -> None:
    for plural in ("claims", "articles", "denials"):
        await world.add(plural, plural)
    one = {"claim_id": "@claims", "denial_id": "@denials", "article_id": "@articles", "text": "it"}
    targets = [{key: value} for key, value in one.items()]
    denial = await world.add("denials", "d", targets=targets)
    for target, (key, value) in zip(denial["targets"], one.items(), strict=True):
        assert target[key] == world.resolved(value)
        assert [name for name in one if target[name] is not None] == [key]
    wrong: list[Any] = [
        {},
        {"claim_id": "@claims", "text": "it"},
        {"claim_id": "@claims", "article_id": "@articles"},
        one,
    ]
    refused = await world.refused("denials", targets=[*targets, *wrong])
    assert refused == {f"/targets/{index}": "one-target" for index in range(4, 8)}


async def test_a_target_twice_is_refused(world: World) -> None:
    await world.add("claims", "c")
    target = {"claim_id": "@c"}
    targets = [target, {"text": "it"}, target | {"coverage": "inferred"}, {"text": "it"}]
    refused = await world.refused("denials", targets=targets)
    assert refused == {"/targets/2": "duplicate-item", "/targets/3": "duplicate-item"}


async def test_a_denial_does_not_answer_or_supersede_itself(world: World) -> None:
    denial = await world.add("denials", "d")
    own = {"targets": [{"denial_id": "@d"}], "superseded_by_id": "@d"}
    refused = faults(await world.put("d", denial | own))
    pointers = ("/targets/0/denial_id", "/superseded_by_id")
    assert refused == dict.fromkeys(pointers, "self-reference")


async def test_what_a_denial_refers_to_exists(world: World) -> None:
    nothing = str(uuid4())
    refused = await world.refused(
        "denials",
        scope_source_id=nothing,
        superseded_by_id=nothing,
        targets=[
            {"claim_id": nothing},
            {"denial_id": nothing},
            {"article_id": nothing},
        ],
        attributions=[{"source_id": nothing}],
        appearances=[{"article_id": nothing}],
    )
    pointers = {
        "/scope_source_id",
        "/superseded_by_id",
        "/targets/0/claim_id",
        "/targets/1/denial_id",
        "/targets/2/article_id",
        "/attributions/0/source_id",
        "/appearances/0/article_id",
    }
    assert refused == dict.fromkeys(pointers, "unknown-reference")


async def test_a_denial_is_a_statement_too(world: World) -> None:
    refused = await world.refused(
        "denials",
        attributions=[{"resolution": "certain"}],
        stated={"earliest": "2024-02-30"},
        embargoed_until="2023-02-29T00:00:00Z",
        language="en_GB",
    )
    # Beside a value of the wrong form, what breaks the rules of a part is named too.
    assert (
        refused.items()
        >= {
            "/attributions/0/source_id": "source-needed",
            "/stated/earliest": "impossible-date",
            "/language": "invalid-value",
        }.items()
    )


# --- what can be asked -----------------------------------------------------------------------


@pytest.fixture(scope="module")
async def answers(client: httpx.AsyncClient) -> World:
    """Denials of all sorts."""
    world = World(client)
    for name in ("ministry", "moscow", "statement", "member"):
        await world.add("sources", name)
    await world.add("sources", "group", kind="group", members=[{"source_id": "@member"}])
    for name in ("c1", "c2", "c3"):
        await world.add("claims", name)
    for name in ("told", "meant"):
        await world.add("articles", name)
    ministry = {"source_id": "@ministry", "via_id": "@statement"}
    await world.add(
        "denials",
        "both",
        kind="neither_confirms_nor_denies",
        observed_by="article_observation",
        targets=[{"claim_id": "@c1"}, {"claim_id": "@c2", "coverage": "ambiguous"}],
        attributions=[{"source_id": "@moscow"}, ministry | {"role": "co_claimant"}],
        appearances=[{"article_id": "@told"}],
        stated={"earliest": "2024-12-19", "latest": "2024-12-19"},
        language="en",
    )
    await world.add(
        "denials",
        "silence",
        kind="omission",
        scope_source_id="@statement",
        targets=[{"claim_id": "@c2", "coverage": "inferred"}, {"text": "the front"}],
        attributions=[{"source_id": "@moscow"}, {"position": 1, "source_id": "@ministry"}],
    )
    await world.add(
        "denials",
        "taken_back",
        validity="retracted",
        review_status="published",
        targets=[{"claim_id": "@c1", "coverage": "explicit"}],
        attributions=[{"source_id": "@group"}],
    )
    await world.add(
        "denials",
        "of_denial",
        kind="source_attack",
        targets=[{"denial_id": "@taken_back", "coverage": "inferred"}],
        stated={"earliest": "2024-12-20T10:00:00Z"},
    )
    await world.add(
        "denials", "of_article", targets=[{"article_id": "@meant"}], validity="hardened"
    )
    return world


ALL = {"both", "silence", "taken_back", "of_denial", "of_article"}

ASKED: list[tuple[str, set[str]]] = [
    ("", ALL),
    ("claim_id=@c1", {"both", "taken_back"}),
    ("claim_id=@c2", {"both", "silence"}),
    ("claim_id=@c3", set()),
    ("target_article_id=@meant", {"of_article"}),
    ("target_article_id=@told", set()),
    ("response_family=deflects", {"taken_back"}),
    ("response_family=denies", set()),
    ("without_response_family=deflects", ALL - {"taken_back"}),
    ("responded=true", {"taken_back"}),
    ("responded=false", ALL - {"taken_back"}),
    # The claim and the coverage are one target's.
    ("claim_id=@c1&coverage=explicit", {"both", "taken_back"}),
    ("claim_id=@c2&coverage=explicit", set()),
    ("claim_id=@c2&coverage=ambiguous", {"both"}),
    ("coverage=inferred", {"silence", "of_denial"}),
    ("coverage=explicit", ALL - {"of_denial"}),
    ("target_article_id=@meant", {"of_article"}),
    ("target_article_id=@told", set()),
    ("target_article_id=@meant&coverage=inferred", set()),
    ("text_target=true", {"silence"}),
    ("text_target=true&coverage=explicit", {"silence"}),
    ("text_target=true&coverage=inferred", set()),
    ("text_target=true&claim_id=@c2", set()),
    ("text_target=false", ALL),
    ("denial_id=@taken_back", {"of_denial"}),
    ("denial_id=@taken_back&coverage=explicit", set()),
    ("denial_id=@both", set()),
    ("responder_id=@moscow", {"both", "silence"}),
    ("responder_id=@ministry", {"both"}),
    ("responder_id=@statement", set()),
    ("source_id=@ministry", {"both", "silence"}),
    ("source_id=@member", {"taken_back"}),
    ("source_id=@statement", {"both"}),
    ("scope_source_id=@statement", {"silence"}),
    ("scope_source_id=@ministry", set()),
    ("article_id=@told", {"both"}),
    # Printed in it; an article as a target is another thing.
    ("article_id=@meant", set()),
    ("kind=full_denial", {"taken_back", "of_article"}),
    ("kind__in=omission&kind__in=source_attack", {"silence", "of_denial"}),
    ("kind__nin=full_denial&kind__nin=omission", {"both", "of_denial"}),
    ("family=denies", {"taken_back", "of_article"}),
    ("family=denies&validity=standing", set()),
    ("family__nin=denies", {"both", "silence", "of_denial"}),
    ("observed_by=article_observation", {"both", "silence"}),
    ("validity=retracted", {"taken_back"}),
    ("validity__nin=standing", {"taken_back", "of_article"}),
    ("review_status=published", {"taken_back"}),
    ("language=en", {"both"}),
    ("stated__gte=2024-12-19", {"both", "of_denial"}),
    ("stated__gt=2024-12-19", {"of_denial"}),
    ("stated__lte=2024-12-19", {"both"}),
    ("stated__lt=2024-12-19", set()),
    ("claim_id=@c1&responder_id=@moscow&family=declines&article_id=@told", {"both"}),
]


@pytest.mark.parametrize(("query", "names"), ASKED, ids=[query or "all" for query, _ in ASKED])
async def test_denials_can_be_asked(answers: World, query: str, names: set[str]) -> None:
    assert await answers.ask("denials", query) == names


async def test_a_target_taken_out_is_not_found_by_it(world: World) -> None:
    await world.add("claims", "c")
    await world.add("denials", "d", targets=[{"claim_id": "@c"}])
    await world.patch("d", targets=[{"text": "something else"}])
    assert await world.ask("denials", "claim_id=@c") == set()
    assert await world.ask("claims", "response_family=denies") == set()
    assert (await world.delete("c")).status_code == 204
