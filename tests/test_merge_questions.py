"""What is promised of questions while the records still name a merged source."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from tests.merging import merged, stillness, work_off
from tests.world import World

_QUERIES: Final = (
    '{{"q":{{"query":"kid","properties":[{{"pid":"parent_id","v":{{"id":"{c}"}}}}]}}}}'
)
QUESTIONS: Final = (
    "/v1/claims/groups?by=claimant_id&by=origin_id&by=source_id&by=publisher_id&by=kind",
    "/v1/claims/groups?by=source_id&limit=1",
    "/v1/denials/groups?by=responder_id&by=origin_id&by=source_id",
    "/v1/articles/groups?by=publisher_id",
    "/v1/figures?metric=killed",
    "/v1/origins",
    "/v1/origins?rollup=parent",
    "/v1/claims/{both}/origins",
    "/v1/claims/{target}/responses",
    "/v1/sources?related_to={x}",
    "/v1/sources?related_to={a}",
    "/v1/sources?related_to={c}&relation_kind=possibly_same_as",
    "/v1/sources?parent_id={b}",
    "/v1/sources?member_id={a}",
    "/v1/sources?id__in={a}&id__in={b}",
    "/v1/sources/match?name=Seong-kweun%20Lee",
    '/v1/reconcile?extend={{"ids":["{kid}","{a}"],"properties":[{{"id":"parent_id"}}]}}',
    f"/v1/reconcile?queries={_QUERIES}",
)
"""Questions whose answers have ids of sources, or depend on them."""


@pytest.fixture
async def still(empty_url: str) -> AsyncIterator[World]:
    async with stillness(empty_url) as world:
        yield world


async def _chain_of_merges(world: World) -> None:
    """Merge a source into one that is merged into a third, and let records name each of them."""
    for name in ("a", "b", "c", "other"):
        await world.add("sources", name, name=f"Seong-kweun Lee {name}")
    await world.add("sources", "top")
    await world.patch("c", parent_id="@top")
    await world.add("sources", "kid", name="kid", parent_id="@a")
    for name in ("a", "b"):
        await world.add("sources", f"group of {name}", members=[{"source_id": f"@{name}"}])
    relation = {"source_id": "@a", "kind": "possibly_same_as", "state": "suggested"}
    await world.add("sources", "x", relations=[relation])
    hops: dict[str, list[str]] = {
        "of a": ["a"],
        "of b": ["b"],
        "of c": ["c"],
        "both": ["a", "b", "c"],
        "of kid": ["kid"],
        "of x": ["x"],
        "of groups": ["group of a"],
        "of other": ["other"],
        "of group": ["group of b"],
    }
    figure = {"metric": "killed", "unit": "person", "qualifier": "exact", "value": 3}
    figure["printed"] = "three"
    for name, chain in hops.items():
        await world.add(
            "claims",
            name,
            attributions=[
                {"position": n, "source_id": f"@{each}", "via_id": "@a"}
                for n, each in enumerate(chain)
            ],
            quantities=[figure],
            review_status="published",
        )
    for name in ("a", "c"):
        await world.add(
            "articles", f"paper {name}", publisher_id=f"@{name}", text="100 were killed"
        )
        wire = [{"source_id": "@b", "role": "wire"}]
        await world.add(
            "articles", f"copy {name}", publisher_id="@other", credits=wire, text="100 were killed"
        )
    for name in ("paper a", "copy a", "paper c"):
        appearance = {"article_id": f"@{name}", "quote_type": "indirect"}
        await world.add(
            "claims",
            f"in {name}",
            attributions=[{"position": 0, "source_id": "@other"}],
            appearances=[appearance],
            review_status="published",
        )
    await world.add("claims", "target")
    for name in ("a", "b", "c"):
        await world.add(
            "denials",
            f"answer of {name}",
            targets=[{"claim_id": "@target"}],
            attributions=[{"position": 0, "source_id": f"@{name}"}],
        )
    await merged(world, "a", "b")
    await merged(world, "b", "c")


def _without_scores(told: Any) -> Any:
    """Leave out scores: the words that they depend on are counted now and then."""
    if isinstance(told, dict):
        return {key: _without_scores(each) for key, each in told.items() if key != "score"}
    return [_without_scores(each) for each in told] if isinstance(told, list) else told


async def _answers(world: World) -> dict[str, Any]:
    names = ("a", "b", "c", "x", "kid", "both", "target")
    ids = {name: world.id(name) for name in names}
    answers = {}
    for question in QUESTIONS:
        answer = await world.client.get(question.format(**ids))
        assert answer.status_code == 200, answer.text
        told = answer.json()
        if "/v1/sources?" in question:
            told = sorted(each["id"] for each in told["items"])
        answers[question] = world.named(_without_scores(told))
    return answers


@pytest.mark.long
async def test_every_question_means_the_survivor_at_once(still: World, empty_url: str) -> None:
    world = still
    await _chain_of_merges(world)
    at_once = await _answers(world)
    await work_off(empty_url)
    assert at_once == await _answers(world)


async def test_a_page_brings_the_survivor_of_a_merged_source_too(still: World) -> None:
    world = still
    await _chain_of_merges(world)
    for path in ("claims?id__in={of a}", "figures?metric=killed", "claims/{target}/responses"):
        question = path.format(**{name: world.id(name) for name in ("of a", "target")})
        url = httpx.URL(f"/v1/{question}").copy_add_param("expand", "sources")
        answer = await world.client.get(url)
        assert answer.status_code == 200, answer.text
        brought = answer.json()["included"]["sources"]
        assert {"a", "c"} <= {world.named(each) for each in brought}
        assert brought[world.id("a")]["merged_into_id"] == world.id("b")


async def test_a_page_brings_the_groups_of_what_was_merged_into_its_source(still: World) -> None:
    world = still
    await _chain_of_merges(world)
    answer = await world.client.get(f"/v1/sources?id__in={world.id('c')}&expand=groups")
    brought = answer.json()["included"]["groups"]
    assert {world.named(each) for each in brought} == {"group of a", "group of b"}
