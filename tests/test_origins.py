"""Origins: how many independent sources stand behind claims."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.access import keyring
from api.questions import independence
from api.questions.independence import Hop, Known, Printing, count_origins
from schemas.vocabularies import Scope
from tests.conftest import allow, bearer
from tests.world import World

READER = keyring.written("originreader", "0" * 30)
NOTHING = Known({}, {}, (), (), {}, {}, {})


@pytest.fixture
def world(client: httpx.AsyncClient) -> World:
    return World(client)


async def origins(world: World, path: str, **headers: str) -> dict[str, Any]:
    """Ask for origins; give the answer with the world's names in the place of ids."""
    response = await world.client.get(path, headers=headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = world.named(response.json())
    return found


def hops(*sources: str, **more: str) -> list[dict[str, Any]]:
    """Write a chain, from the reader to the origin."""
    return [{"position": at, "source_id": f"@{name}"} | more for at, name in enumerate(sources)]


async def test_the_origin_is_the_source_at_the_highest_position(world: World) -> None:
    for name in ("mp", "service", "briefing", "ally"):
        await world.add("sources", name)
    chain = hops("mp", "service")
    chain[1]["via_id"] = "@briefing"
    joint = [{"position": 0, "source_id": f"@{name}"} for name in ("service", "ally")]
    await world.add("articles", "paper")
    printed = [{"article_id": "@paper"}]
    await world.add("claims", "far", attributions=chain, appearances=printed)
    await world.add("claims", "joint", attributions=joint)
    found = await origins(world, f"/v1/origins?tag={world.tag}")
    assert sorted(found["claims"]) == ["far", "joint"]
    by_source = {each["source_id"]: each for each in found["origins"]}
    assert sorted(by_source) == ["ally", "service"]
    assert sorted(by_source["service"]["claim_ids"]) == ["far", "joint"]
    assert by_source["service"]["via_ids"] == ["briefing"]
    assert by_source["service"]["via_articles"] == ["paper"]
    assert (found["count"], found["at_least"], found["uncertain"]) == (2, 2, [])
    assert found["origins"][0]["source_id"] == "service"


async def test_what_nobody_is_known_to_have_said_adds_no_origin(world: World) -> None:
    await world.add("sources", "s")
    await world.add("claims", "nobody")
    await world.add("claims", "unresolved", attributions=[{"printed": "were said to"}])
    await world.add("claims", "guessed", attributions=hops("s", resolution="unresolved"))
    await world.add("claims", "paper", attributions=[{"role": "author_voice"}])
    await world.add("claims", "said", attributions=hops("s"))
    found = await origins(world, f"/v1/origins?tag={world.tag}")
    assert (found["count"], found["origins"][0]["claim_ids"]) == (1, ["said"])
    assert sorted(found["unresolved"]) == ["guessed", "nobody", "unresolved"]
    assert found["author_voice"] == ["paper"]


async def test_one_claim_counts_with_all_that_restates_it(world: World) -> None:
    for name in ("a", "b", "c", "d", "e"):
        await world.add("sources", name)
    await world.add("claims", "first", attributions=hops("a"))

    async def related(name: str, source: str, **relation: str) -> None:
        await world.add("claims", name, attributions=hops(source), relations=[relation])

    await related("again", "b", claim_id="@first", kind="restates")
    await related("same", "b", claim_id="@again", kind="same_origin_as", state="confirmed")
    await related("suggested", "c", claim_id="@first", kind="restates", state="suggested")
    await related("rejected", "d", claim_id="@first", kind="restates", state="rejected")
    await related("about", "e", claim_id="@first", kind="about")
    for start in ("first", "again", "same"):
        found = await origins(world, f"{world.at(start)}/origins")
        assert sorted(found["claims"]) == ["again", "first", "same"]
        assert (found["count"], found["truncated"]) == (2, False)
    assert (await origins(world, f"{world.at('about')}/origins"))["claims"] == ["about"]


async def test_a_hidden_claim_is_no_bridge(world: World, database_url: str) -> None:
    reader = bearer(await allow(database_url, key=READER, scopes=(Scope.READ,)))
    await world.add("claims", "one", review_status="published")
    relations = [{"claim_id": "@one", "kind": "restates"}]
    await world.add("claims", "draft", relations=relations)
    relations = [{"claim_id": "@draft", "kind": "restates"}]
    await world.add("claims", "two", review_status="published", relations=relations)
    found = await origins(world, f"{world.at('one')}/origins")
    assert sorted(found["claims"]) == ["draft", "one", "two"]
    for name in ("one", "two"):
        assert (await origins(world, f"{world.at(name)}/origins", **reader))["claims"] == [name]
    hidden = await world.client.get(f"{world.at('draft')}/origins", headers=reader)
    assert hidden.status_code == 404
    found = await origins(world, f"/v1/origins?tag={world.tag}", **reader)
    assert sorted(found["claims"]) == ["one", "two"]


async def test_a_part_may_count_as_its_whole(world: World) -> None:
    await world.add("sources", "state", kind="state")
    await world.add("sources", "ministry", parent_id="@state")
    await world.add("sources", "office", parent_id="@ministry")
    for name in ("state", "office"):
        await world.add("claims", f"of {name}", attributions=hops(name))
    found = await origins(world, f"/v1/origins?tag={world.tag}")
    assert (found["count"], found["at_least"]) == (2, 1)
    (doubt,) = found["uncertain"]
    assert (sorted(doubt["source_ids"]), doubt["why"]) == (["office", "state"], "parent")
    found = await origins(world, f"/v1/origins?tag={world.tag}&rollup=parent")
    assert [each["source_id"] for each in found["origins"]] == ["state"]
    assert (found["count"], found["at_least"], found["uncertain"]) == (1, 1, [])


async def test_doubts_change_no_count(world: World) -> None:
    for name in ("uk", "us", "seoul", "envoy"):
        await world.add("sources", name)
    await world.add("sources", "g7", kind="group", members=[{"source_id": "@uk"}])
    inner = [{"source_id": "@g7"}, {"source_id": "@us"}]
    await world.add("sources", "allies", kind="group", members=inner)
    same = [{"source_id": "@seoul", "kind": "possibly_same_as", "state": "suggested"}]
    await world.add("sources", "official", relations=same)
    other = [{"source_id": "@envoy", "kind": "possibly_same_as", "state": "rejected"}]
    await world.add("sources", "someone", relations=other)
    named = ("uk", "us", "allies", "seoul", "official", "envoy", "someone")
    for name in named:
        await world.add("claims", f"of {name}", attributions=hops(name))
    found = await origins(world, f"/v1/origins?tag={world.tag}")
    assert found["count"] == len(named)
    doubts = {(tuple(sorted(each["source_ids"])), each["why"]) for each in found["uncertain"]}
    assert doubts == {
        (("allies", "uk"), "shared_member"),
        (("allies", "us"), "shared_member"),
        (("official", "seoul"), "possibly_same"),
    }
    assert found["at_least"] == 4


async def test_wholes_are_doubted_as_their_parts_are(world: World) -> None:
    await world.add("sources", "ministry of one", parent_id=await _add(world, "one"))
    same = [{"source_id": "@one", "kind": "possibly_same_as", "state": "suggested"}]
    await world.add("sources", "two", relations=same)
    await world.add("sources", "ministry of two", parent_id="@two")
    await world.add("sources", "desk of three", parent_id=await _add(world, "three"))
    group = {"kind": "group", "members": [{"source_id": "@desk of three"}]}
    await world.add("sources", "allies", parent_id=await _add(world, "four"), **group)
    await world.add("sources", "five", members=[{"source_id": "@ministry of two"}])
    named = ("ministry of one", "ministry of two", "desk of three", "allies", "five")
    for name in named:
        await world.add("claims", f"of {name}", attributions=hops(name))
    found = await origins(world, f"/v1/origins?tag={world.tag}&rollup=parent")
    assert sorted(each["source_id"] for each in found["origins"]) == [
        "five", "four", "one", "three", "two",
    ]  # fmt: skip
    doubts = {(tuple(sorted(each["source_ids"])), each["why"]) for each in found["uncertain"]}
    assert doubts == {
        (("one", "two"), "possibly_same"),
        (("four", "three"), "shared_member"),
        (("five", "two"), "shared_member"),
    }
    assert (found["count"], found["at_least"]) == (5, 2)


async def _add(world: World, name: str) -> str:
    await world.add("sources", name)
    return f"@{name}"


@pytest.mark.parametrize("how", ["credit", "copy"])
async def test_a_wire_in_many_papers_is_one_origin(world: World, how: str) -> None:
    await world.add("sources", "agency")
    await world.add("articles", "wire", publisher_id="@agency")
    names = [f"paper {number}" for number in range(5)]
    for name in names:
        await world.add("sources", name)
        fields: dict[str, Any] = {"credits": [{"source_id": "@agency", "role": "wire"}]}
        if how == "copy":
            fields = {"relations": [{"article_id": "@wire", "kind": "syndicated_copy_of"}]}
        await world.add("articles", f"in {name}", publisher_id=f"@{name}", **fields)
        printed = [{"article_id": f"@in {name}"}]
        await world.add("claims", f"by {name}", attributions=hops(name), appearances=printed)
    found = await origins(world, f"/v1/origins?tag={world.tag}")
    assert [each["source_id"] for each in found["origins"]] == ["agency"]
    if how == "copy":
        assert found["origins"][0]["via_articles"] == ["wire"]
    # A paper that has it from its own reporter as well is an origin of its own.
    await world.add("articles", "own", publisher_id="@paper 0")
    both = [{"article_id": "@in paper 0"}, {"article_id": "@own"}]
    await world.patch("by paper 0", appearances=both)
    found = await origins(world, f"/v1/origins?tag={world.tag}")
    assert [each["source_id"] for each in found["origins"]] == ["agency", "paper 0"]


@pytest.mark.parametrize(
    ("path", "parameter"),
    [("/v1/origins?rollup=top", "rollup"), ("/v1/origins?limit=3", "limit")],
)
async def test_only_what_is_declared_can_be_asked(
    client: httpx.AsyncClient, path: str, parameter: str
) -> None:
    response = await client.get(path)
    assert response.status_code == 400
    assert response.json()["errors"][0]["parameter"] == parameter


async def test_a_claim_that_is_not_there_has_no_origins(world: World) -> None:
    await world.add("claims", "c")
    path = f"{world.at('c')}/origins"
    await world.delete("c")
    assert (await world.client.get(path)).status_code == 404


# --- the computation, without a database -----------------------------------------------------


def test_circles_of_parents_and_copies_end() -> None:
    known = NOTHING._replace(
        parents={"a": "b", "b": "c", "c": "a"},
        originals={"x": "y", "y": "x"},
        members={"a": ["b"], "b": ["a", "d"]},
        printed=[Printing("1", "x")],
    )
    found = count_origins(
        ["1"], [Hop("1", "a", None, "claimant", "certain")], known, rolled_up=True, truncated=False
    )
    assert found.count == found.at_least == 1


def test_doubts_are_looked_for_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"g{number}": [f"m{other}" for other in range(100)] for number in range(100)}
    claimed = [Hop("1", group, None, "claimant", "certain") for group in members]
    known = NOTHING._replace(members=members)

    def at_least() -> tuple[int, bool]:
        found = count_origins(["1"], claimed, known, rolled_up=False, truncated=False)
        return found.at_least, found.truncated

    assert at_least() == (1, False)
    monkeypatch.setattr(independence, "MAX_STEPS", 150)
    assert at_least() == (99, True)


def test_an_answer_lists_no_more_than_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(independence, "MAX_LISTED", 5)
    claimed = [Hop("1", f"s{number}", None, "claimant", "certain") for number in range(4)]
    known = NOTHING._replace(
        printed=[Printing("1", f"a{number}") for number in range(3)],
        parents={f"s{number}": f"s{number + 1}" for number in range(3)},
    )
    found = count_origins(["1"], claimed, known, rolled_up=False, truncated=False)
    assert sum(len(each.via_articles) for each in found.origins) == 5
    assert (len(found.uncertain), found.count, found.truncated) == (5, 4, True)


def test_a_chain_is_followed_once_for_all_that_ask() -> None:
    class Counted(dict[str, str]):
        asked = 0

        def get(self, key: str, default: Any = None) -> Any:
            self.asked += 1
            return super().get(key, default)

    chain = Counted({f"a{number}": f"a{number + 1}" for number in range(1_000)})
    claimed = [Hop("1", f"s{number}", None, "claimant", "certain") for number in range(500)]
    printed = [Printing("1", f"a{number}") for number in range(200)]
    known = NOTHING._replace(printed=printed, originals=chain)
    found = count_origins(["1"], claimed, known, rolled_up=False, truncated=False)
    assert found.origins[0].via_articles == ["a1000"]
    assert chain.asked < 2_000
