"""What is promised of merges: two sources become one, all that names them follows, and back."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from api.access import keyring
from api.core.db import Database
from api.core.sql import render
from api.merging import referrers
from api.records.nouns import RESOURCES
from schemas.vocabularies import RecordType, Scope
from tests.conftest import KEY, PATIENCE, allow, as_service, bearer, patient, serving
from tests.merging import merge, merged, settled, stillness, unmerged, work_off
from tests.world import World, content, faults

Record = dict[str, Any]
ANY = {"if-match": "*"}
PATCH = {"content-type": "application/merge-patch+json"}
NOBODY = "01938f7a-4c00-7000-8000-0000000000ff"


@pytest.fixture
def world(client: httpx.AsyncClient) -> World:
    return World(client)


async def test_everything_that_names_a_merged_source_names_its_survivor(world: World) -> None:
    for name in ("s", "m"):
        await world.add("sources", name, name=name.upper())
    hop = [{"position": 0, "source_id": "@m"}]
    await world.add("claims", "c", attributions=hop, parties=[{"source_id": "@m", "role": "actor"}])
    await world.add("denials", "d", attributions=hop, scope_source_id="@m")
    await world.add(
        "articles",
        "a",
        publisher_id="@m",
        authors=[{"name": "M", "source_id": "@m"}],
        credits=[{"source_id": "@m", "role": "wire"}],
    )
    await world.add(
        "sources", "x", parent_id="@m", roles=[{"title": "it", "organisation_id": "@m"}]
    )
    before = {name: await world.get(name) for name in "cdaxsm"}
    await merged(world, "m", "s")
    assert (await settled(world, "m"))["state"] == "done"
    for name in "cdax":
        now = await world.get(name)
        assert world.id("m") not in str(now)
        assert str(content(now)) == str(content(before[name])).replace(world.id("m"), world.id("s"))
        assert now["version"] == before[name]["version"] + 1
    await unmerged(world, "m")
    assert (await settled(world, "m"))["state"] == "undone"
    for name in "cdaxsm":
        assert content(await world.get(name)) == content(before[name])


# --- at once ---------------------------------------------------------------------------------


async def test_a_merged_source_leads_to_its_survivor(world: World) -> None:
    await world.add("sources", "s", name="S")
    m = await world.add("sources", "m", name="M")
    await world.add("claims", "c", attributions=[{"position": 0, "source_id": "@m"}])
    await merged(world, "m", "s")
    for _ in range(2):
        answer = await world.client.get(world.at("m"))
        assert (answer.status_code, answer.headers["location"]) == (308, world.at("s"))
        assert answer.headers["cache-control"] == "no-store"
        tries: list[tuple[str, Record]] = [
            ("PATCH", {"json": {"note": "x"}, "headers": {**ANY, **PATCH}}),
            ("PUT", {"json": {"kind": "person", "name": "X"}, "headers": ANY}),
            ("DELETE", {"headers": ANY}),
        ]
        for method, more in tries:
            answer = await world.client.request(method, world.at("m"), **more)
            assert (answer.status_code, answer.json()["code"]) == (409, "source-merged")
        await settled(world, "m")
    answer = await world.client.post(f"{world.at('m')}/restore", headers=ANY)
    assert (answer.status_code, answer.json()["code"]) == (409, "source-merged")
    answer = await world.client.get(world.at("m"), params={"as_of": m["created_at"]})
    assert answer.json()["name"] == "M"
    now = (await world.get("s"))["updated_at"]
    answer = await world.client.get(world.at("m"), params={"as_of": now})
    assert answer.status_code == 308
    assert answer.headers["location"].startswith(f"{world.at('s')}?as_of=")


async def test_names_and_external_ids_move(world: World) -> None:
    mine = {"namespace": world.tag, "value": "1"}
    s = await world.add("sources", "s", name="Lee", names=[{"name": "MP Lee"}])
    m = await world.add(
        "sources",
        "m",
        name="Seong-kweun Lee",
        names=[{"name": "MP Lee"}, {"name": "이성권", "language": "ko", "kind": "native_script"}],
        external_ids=[mine],
    )
    told = await merged(world, "m", "s")
    now = await world.get("s")
    assert told["version"] == now["version"] == 2
    assert [each["name"] for each in told["names"]] == ["Seong-kweun Lee", "이성권"]
    assert now["names"] == s["names"] + told["names"]
    assert now["external_ids"] == told["external_ids"] == [mine]
    answer = await world.client.get(
        "/v1/sources/by-external-id", params={"namespace": world.tag, "value": "1"}
    )
    assert answer.json()["id"] == world.id("s")
    assert await world.ask("sources", "name=Seong-kweun") == {"s"}
    await unmerged(world, "m")
    assert content(await world.get("s")) == content(s)
    assert content(await world.get("m")) == content(m)


@pytest.fixture
async def still(empty_url: str) -> AsyncIterator[World]:
    """Give a world in which nothing follows from merges until a test says so."""
    async with stillness(empty_url) as world:
        yield world


async def test_answers_are_right_before_the_records_have_followed(still: World) -> None:
    world = still
    for name in ("s", "m"):
        await world.add("sources", name)
    await world.add("sources", "g", members=[{"source_id": "@m"}])
    hop = [{"position": 0, "source_id": "@m"}]
    await world.add("claims", "c", attributions=hop, review_status="published")
    await world.add("claims", "e", attributions=[{"position": 0, "source_id": "@s"}])
    await world.add("claims", "of_group", attributions=[{"position": 0, "source_id": "@g"}])
    await world.add("articles", "a", publisher_id="@m")
    await merged(world, "m", "s")
    for name in ("m", "s"):
        assert await world.ask("claims", f"claimant_id=@{name}") == {"c", "e"}
        assert await world.ask("claims", f"source_id=@{name}") == {"c", "e", "of_group"}
        assert await world.ask("articles", f"publisher_id=@{name}") == {"a"}
        assert await world.ask("sources", f"member_id=@{name}") == {"g"}
        assert await world.ask("sources", f"id__in=@{name}") == {"s"}
    assert await world.ask("sources", "") == {"s", "g"}
    # A new reference means the survivor.
    made = await world.add("claims", "new", attributions=hop)
    assert made["attributions"][0]["source_id"] == world.id("s")
    # One that stands in the record already stays for the merge to change, which can be undone.
    assert (await world.patch("c", note="x"))["attributions"][0]["source_id"] == world.id("m")
    assert await world.refused("claims", attributions=[*hop, {"position": 1, "source_id": NOBODY}])


# --- refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("survivor", "other", "words"),
    [
        ({}, {"confidentiality": "internal"}, "confidentiality"),
        ({}, {"name": None, "description": "an official"}, "anonymous"),
        (
            {},
            {"name": None, "description": "an official", "identification": "anonymous"},
            "anonymous",
        ),
        ({"name": None, "description": "an official"}, {}, "anonymous"),
        ({"relations": [{"source_id": "@m", "kind": "distinct_from"}]}, {}, "distinct_from"),
        ({"parent_id": "@m"}, {}, "a part"),
        ({"members": [{"source_id": "@m"}]}, {}, "a group"),
        ({"names": [{"name": f"{n}"} for n in range(100)]}, {"name": "x"}, "names"),
    ],
)
async def test_what_can_not_be_merged(
    world: World, survivor: Record, other: Record, words: str
) -> None:
    m = await world.add("sources", "m", **other)
    s = await world.add("sources", "s", **survivor)
    for dry_run in ("true", "false"):
        answer = await merge(world, "m", "s", params={"dry_run": dry_run})
        assert (answer.status_code, answer.json()["code"]) == (409, "merge-refused")
        detail = answer.json()["detail"]
        assert words in detail
        assert " first" in detail or " instead" in detail  # it says what to do
    assert [await world.get("m"), await world.get("s")] == [m, s]


@pytest.mark.parametrize("survivor", ["s", "x"])
async def test_what_a_source_is_distinct_from_is_kept_through_a_chain_of_merges(
    world: World, survivor: str
) -> None:
    for name in ("s", "between", "x"):
        await world.add("sources", name)
    await world.add("sources", "m", relations=[{"source_id": "@x", "kind": "distinct_from"}])
    await merged(world, "m", "between")
    await merged(world, "between", "s")
    other = {"s": "x", "x": "s"}[survivor]
    answer = await merge(world, other, survivor)
    assert (answer.status_code, answer.json()["code"]) == (409, "merge-refused")
    assert "distinct_from" in answer.json()["detail"]


@pytest.mark.parametrize("between", ["collective", "implicit"])
async def test_an_anonymous_source_is_not_named_in_two_steps(world: World, between: str) -> None:
    await world.add("sources", "a", name=None, identification="anonymous", description="an aide")
    await world.add("sources", "c", name=None, identification=between, description="aides")
    answer = await merge(world, "a", "c")
    assert (answer.status_code, answer.json()["code"]) == (409, "merge-refused")
    # Nor by an edit in between: what is merged into a source counts too.
    await world.add("sources", "b", name=None, identification="anonymous", description="an aide")
    await merged(world, "a", "b")
    await world.patch("b", identification=between)
    await world.add("sources", "n")
    for other, into in (("b", "n"), ("n", "b")):
        answer = await merge(world, other, into)
        assert (answer.status_code, answer.json()["code"]) == (409, "merge-refused")
    await unmerged(world, "a")
    await merged(world, "b", "n")


async def test_what_is_no_pair(world: World) -> None:
    for name in ("s", "m", "o"):
        await world.add("sources", name)
    assert faults(await merge(world, "s", "s")) == {"/source_id": "self-reference"}
    nobody = await world.client.post(
        f"{world.at('s')}/merge", json={"source_id": NOBODY}, headers=ANY
    )
    assert faults(nobody) == {"/source_id": "unknown-reference"}
    body = {"source_id": world.id("m")}
    answer = await world.client.post(f"{world.at('s')}/merge", json=body)
    assert answer.status_code == 428
    old = {"if-match": '"v7"'}
    answer = await world.client.post(f"{world.at('s')}/merge", json=body, headers=old)
    assert answer.status_code == 412
    body["other_etag"] = '"v7"'
    answer = await world.client.post(f"{world.at('s')}/merge", json=body, headers=ANY)
    assert answer.status_code == 412
    there = await world.client.get(world.at("m"))
    told = (answer.json()["current"], answer.headers["etag"])
    assert told == (there.json(), there.headers["etag"])
    answer = await world.client.post(f"{world.at('m')}/unmerge")
    assert (answer.status_code, answer.json()["code"]) == (409, "not-merged")
    await merged(world, "m", "s")
    for into, other in (("m", "o"), ("o", "m"), ("m", "s")):
        answer = await merge(world, other, into)
        assert (answer.status_code, answer.json()["code"]) == (409, "source-merged")


# --- references that would be useless --------------------------------------------------------


async def test_references_that_would_be_useless_are_dropped_and_come_back(world: World) -> None:
    for name in ("s", "m", "x"):
        await world.add("sources", name)
    same = {"source_id": "@m", "kind": "possibly_same_as", "state": "suggested"}
    await world.add("sources", "g", members=[{"source_id": "@m"}, {"source_id": "@s"}])
    await world.patch("x", relations=[{**same, "source_id": "@m"}])
    await world.patch("s", relations=[same, {**same, "source_id": "@x"}])
    before = {name: content(await world.get(name)) for name in "sgx"}
    dry = (await merge(world, "m", "s", params={"dry_run": "true"})).json()
    told = await merged(world, "m", "s")
    assert {**dry, "dry_run": False, "version": told["version"]} == told
    dropped = [(each["id"], each["pointer"]) for each in told["dropped"]]
    assert sorted(dropped) == sorted(
        [
            (world.id("g"), "/members/0/source_id"),
            (world.id("x"), "/relations/0/source_id"),
            (world.id("s"), "/relations/0/source_id"),
        ]
    )
    await settled(world, "m")
    now = {name: await world.get(name) for name in "sgx"}
    assert [each["source_id"] for each in now["g"]["members"]] == [world.id("s")]
    assert now["x"]["relations"] == []
    assert [each["source_id"] for each in now["s"]["relations"]] == [world.id("x")]
    await unmerged(world, "m")
    await settled(world, "m")
    assert {name: content(await world.get(name)) for name in "sgx"} == before


async def test_what_somebody_has_changed_since_stays_and_is_told(world: World) -> None:
    for name in ("s", "m"):
        await world.add("sources", name)
    hop = [{"position": 0, "source_id": "@m"}]
    for name in ("kept", "edited", "deleted", "elsewhere"):
        await world.add("claims", name, attributions=hop)
    await merged(world, "m", "s")
    await settled(world, "m")
    await world.patch("elsewhere", note="other words")
    await world.patch(
        "edited",
        attributions=[
            {"position": 0, "source_id": "@s", "cue": "said"},
            {"position": 1, "source_id": "@s"},
        ],
    )
    await world.delete("deleted")
    await unmerged(world, "m")
    told = await settled(world, "m")
    stayed = {world.id("edited"), world.id("deleted")}
    assert {each["id"] for each in told["changed"]} == stayed
    for name, source in (("kept", "m"), ("elsewhere", "m"), ("edited", "s")):
        assert (await world.get(name))["attributions"][0]["source_id"] == world.id(source)


async def test_an_unmerge_leaves_out_what_is_deleted_and_tells_it(
    still: World, empty_url: str
) -> None:
    world = still
    for name in ("s", "parent", "member", "friend", "employer", "there", "next"):
        await world.add("sources", name)
    before = await world.add(
        "sources",
        "m",
        parent_id="@parent",
        members=[{"source_id": "@member"}, {"source_id": "@there"}],
        relations=[{"source_id": "@friend", "kind": "successor_of"}],
        roles=[{"title": "it", "organisation_id": "@employer"}],
    )
    await merged(world, "m", "s")
    await work_off(empty_url)
    for name in ("parent", "member", "friend", "employer"):
        assert (await world.delete(name)).status_code == 204
    await merged(world, "there", "next")
    await work_off(empty_url)
    told = await unmerged(world, "m")
    now = await world.get("m")
    assert content(now) == content(before) | {
        "parent_id": None,
        "members": [{**before["members"][1], "source_id": world.id("next")}],
        "relations": [],
        "roles": [{**before["roles"][0], "organisation_id": None}],
    }
    places = ["/members/0/source_id", "/parent_id", "/relations/0/source_id"]
    lost = [*places, "/roles/0/organisation_id"]
    assert {each["id"] for each in told["changed"]} == {world.id("m")}
    assert sorted(each["pointer"] for each in told["changed"]) == lost


async def test_an_unmerge_tells_where_in_the_source_as_it_was_something_is_left_out(
    still: World,
) -> None:
    world = still
    for name in ("s", "m0", "m1", "m2", "m3", "m4", "next"):
        await world.add("sources", name)
    members = [{"source_id": f"@m{number}"} for number in range(5)]
    before = await world.add("sources", "m", members=members)
    await world.add("sources", "holder", members=[{"source_id": "@m"}])
    await merged(world, "m", "s")
    await merged(world, "m2", "next")
    await world.patch("m3", members=[{"source_id": "@holder"}])
    for name in ("m0", "m1"):
        assert (await world.delete(name)).status_code == 204
    told = await unmerged(world, "m")
    pointers = [f"/members/{index}/source_id" for index in (0, 1, 3)]
    assert sorted(each["pointer"] for each in told["changed"]) == pointers
    stays = [{**before["members"][2], "source_id": world.id("next")}, before["members"][4]]
    assert (await world.get("m"))["members"] == stays


async def test_an_unmerge_leaves_out_what_would_lead_back(still: World, empty_url: str) -> None:
    world = still
    for name in ("s", "above", "group"):
        await world.add("sources", name)
    await world.add("sources", "m", parent_id="@above", members=[{"source_id": "@group"}])
    await world.add("sources", "below", parent_id="@m")
    await world.add("sources", "holder", members=[{"source_id": "@m"}])
    await merged(world, "m", "s")
    await world.patch("above", parent_id="@below")
    await world.patch("group", members=[{"source_id": "@holder"}])
    told = await unmerged(world, "m")
    now = await world.get("m")
    assert (now["parent_id"], now["members"]) == (None, [])
    assert len(told["changed"]) == 2
    await work_off(empty_url)
    assert (await world.get("below"))["parent_id"] == world.id("m")


# --- chains ----------------------------------------------------------------------------------


SOURCES = ("a", "b", "c", "d")


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, str, str]]:
    """Draw merges of four sources in any order, each undone later, with work and edits between.

    An edit changes the note of a record, or lets a claim name another source than before.
    """
    alive, steps, done = list(SOURCES), [], []

    def between() -> list[tuple[str, str, str]]:
        claims = ["claim 0", "claim 1"]
        edit = st.one_of(
            st.sampled_from([("note", each, "new") for each in (*claims, "g", *alive)]),
            st.sampled_from([("name", each, "g") for each in claims]),
        )
        work = [("work", "", "")] if draw(st.booleans()) else []
        return draw(st.permutations([*draw(st.lists(edit, max_size=2)), *work]))

    for _ in range(draw(st.integers(1, 3))):
        other, into = draw(st.permutations(alive))[:2]
        alive.remove(other)
        done.append(other)
        steps += [("merge", other, into), *between()]
    for other in draw(st.permutations(done)):
        steps += [("unmerge", other, ""), *between()]
    return [*steps, ("work", "", "")]


_NAMED: Final = st.lists(st.sampled_from(SOURCES), max_size=3)


@st.composite
def worlds(draw: st.DrawFn) -> Record:
    """Draw which sources name which others, and what names them."""
    return {
        "names": {
            each: draw(st.lists(st.sampled_from(["X", "Y", "a"]), unique=True, max_size=2))
            for each in SOURCES
        },
        "relations": {
            each: draw(
                st.lists(
                    st.sampled_from([o for o in SOURCES if o > each] or ["g"]),
                    unique=True,
                    max_size=2,
                )
            )
            for each in SOURCES
        },
        "roles": {
            each: draw(st.lists(st.sampled_from([o for o in SOURCES if o != each]), max_size=2))
            for each in SOURCES
        },
        "claims": [draw(_NAMED) for _ in range(2)],
        "parties": draw(st.lists(st.sampled_from(SOURCES), unique=True, max_size=3)),
        "members": draw(st.lists(st.sampled_from(SOURCES), unique=True, max_size=4)),
    }


@pytest.mark.long
@pytest.mark.parametrize(
    "steps",
    [
        "merge c b, work, merge d b, unmerge c, unmerge d, work",
        "merge c b, work, merge d b, unmerge c, work, unmerge d, work",
        "merge c b, work, merge d b, work, unmerge c, work, unmerge d, work",
        "merge d b, work, merge c a, work, merge b a, work, unmerge c, work, unmerge d, unmerge b",
        "merge d a, work, merge a b, work, merge c b, unmerge c, work, unmerge a, work, unmerge d",
        "merge d b, merge b a, merge c a, unmerge c, work, unmerge b, work, unmerge d",
        "merge c a, merge d b, unmerge c, work, unmerge d",
        "merge c a, work, merge d b, work, unmerge c, work, unmerge d",
    ],
)
async def test_a_relation_comes_back_although_a_merge_has_led_another_against_it(
    still: World, empty_url: str, steps: str
) -> None:
    """Of two sources, one may state a symmetric relation to the other, and not both."""
    world = still
    names = ("d", "c", "b", "a")
    before = {}
    for name, other in zip(names, (None, "d", "c", "b"), strict=True):
        relations = [
            {"source_id": f"@{other}", "kind": "possibly_same_as", "state": "suggested"},
            {"source_id": f"@{other}", "kind": "successor_of"},
        ]
        before[name] = await world.add("sources", name, relations=relations if other else [])
    for step in f"{steps}, work".split(", "):
        what, *which = step.split()
        if what == "merge":
            await merged(world, which[0], which[1])
        elif what == "unmerge":
            await unmerged(world, which[0])
        else:
            await work_off(empty_url)
    assert [content(await world.get(name)) for name in names] == [
        content(before[name]) for name in names
    ]


async def test_a_relation_does_not_come_back_if_an_editor_has_let_the_other_source_state_it(
    still: World, empty_url: str
) -> None:
    world = still
    relation = {"kind": "possibly_same_as", "state": "suggested"}
    await world.add("sources", "m")
    await world.add("sources", "s", relations=[{"source_id": "@m", **relation}])
    await merged(world, "m", "s")
    await work_off(empty_url)
    await unmerged(world, "m")
    stated = await world.patch("m", relations=[{"source_id": "@s", **relation}])
    await work_off(empty_url)
    assert (await world.get("m"))["relations"] == stated["relations"]
    assert (await world.get("s"))["relations"] == []
    told = await settled(world, "m")
    assert (told["state"], [each["id"] for each in told["changed"]]) == ("undone", [world.id("s")])


@pytest.mark.long
async def test_merges_are_undone_in_any_order(
    empty_url: str,
) -> None:
    async with stillness(empty_url) as still:

        @settings(
            max_examples=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(worlds(), histories())
        def check(told: Record, steps: list[tuple[str, str, str]]) -> None:
            asyncio.run_coroutine_threadsafe(
                undo(still.client, empty_url, told, steps), loop
            ).result()

        loop = asyncio.get_running_loop()
        await asyncio.to_thread(check)


async def undo(
    client: httpx.AsyncClient, url: str, told: Record, steps: list[tuple[str, str, str]]
) -> None:
    """Make a world, merge and unmerge, and compare every record with what it was."""
    world = World(client)
    await world.add("sources", "g")
    for name in SOURCES:
        mine = [{"namespace": world.tag, "value": name}]
        await world.add(
            "sources",
            name,
            name=f"{name} of {world.tag}",
            external_ids=mine,
            names=[{"name": each} for each in told["names"][name]],
        )
    for name in SOURCES:
        relations = [
            {"source_id": f"@{o}", "kind": "possibly_same_as", "state": "suggested"}
            for o in told["relations"][name]
        ]
        roles = [
            {"title": f"{n}", "organisation_id": f"@{o}"} for n, o in enumerate(told["roles"][name])
        ]
        await world.patch(name, relations=relations, roles=roles)
    await world.patch("g", members=[{"source_id": f"@{each}"} for each in told["members"]])
    for number, chain in enumerate(told["claims"]):
        hops = [{"position": 0, "source_id": f"@{each}"} for each in chain]
        parties = [{"source_id": f"@{each}", "role": "actor"} for each in told["parties"]]
        await world.add("claims", f"claim {number}", attributions=hops, parties=parties)
    names = ["g", *SOURCES, *(f"claim {number}" for number in range(len(told["claims"])))]
    before = {name: content(await world.get(name)) for name in names}
    for what, name, into in steps:
        if what == "merge":
            await merged(world, name, into)
        elif what == "unmerge":
            await unmerged(world, name)
        elif what == "note":
            before[name]["note"] = (await world.patch(name, note=into))["note"]
        elif what == "name":
            # What somebody has changed stays; all other references go back.
            hops = [{"position": 0, "source_id": f"@{into}"}]
            changed = await world.patch(name, attributions=hops)
            before[name]["attributions"] = changed["attributions"]
        else:
            await work_off(url)
    after = {name: content(await world.get(name)) for name in names}
    assert world.named(after) == world.named(before)


async def test_an_unmerge_from_a_deleted_survivor_keeps_it_deleted(
    still: World, empty_url: str
) -> None:
    world = still
    for name in ("s", "m"):
        await world.add("sources", name, name=name)
    await merged(world, "m", "s")
    await work_off(empty_url)
    await world.delete("s")
    await unmerged(world, "m")
    assert (await world.get("m"))["name"] == "m"
    assert (await world.client.get(world.at("s"))).status_code == 410
    changes = (await world.client.get("/v1/changes", params={"since": "start"})).json()["items"]
    ops = [each["op"] for each in changes if each["id"] == world.id("s")]
    assert ops[-1] == "deleted"


@pytest.mark.long
async def test_no_downgrade_loses_what_an_unmerge_still_has_to_do(
    still: World, empty_url: str
) -> None:
    world = still
    for name in ("s", "m"):
        await world.add("sources", name)
    await world.add("claims", "c", attributions=[{"position": 0, "source_id": "@m"}])
    await merged(world, "m", "s")
    await work_off(empty_url)
    await unmerged(world, "m")
    refusal = importlib.import_module("migrations.versions.0025_merges").REFUSE_MERGED
    owner = await asyncpg.connect(empty_url)
    try:
        with pytest.raises(asyncpg.RaiseError):
            await owner.execute(refusal)
        await work_off(empty_url)
        await owner.execute(refusal)
    finally:
        await owner.close()


async def test_a_type_that_names_sources_in_no_list_follows_too(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the rulings of `docs/adding-a-record-type.md`: no list of them has to be measured."""
    monkeypatch.setattr(referrers, "columns_of", lambda _: {"parent_id": ()})
    sources = RESOURCES[RecordType.SOURCE]
    query = referrers._composed.__wrapped__(sources, referrers._NEXT)  # noqa: SLF001
    given = {"merge_id": 1, "source_id": NOBODY, "limit": 1, "most_bytes": 1}
    connection = await asyncpg.connect(empty_url)
    try:
        assert await connection.fetch(*render(query, **given)) == []
    finally:
        await connection.close()


# --- at the same time ------------------------------------------------------------------------


async def test_of_two_merges_at_once_one_is_refused(world: World) -> None:
    for name in ("s", "m"):
        await world.add("sources", name)
    answers = await asyncio.gather(merge(world, "m", "s"), merge(world, "s", "m"))
    assert sorted(each.status_code for each in answers) == [200, 409]


async def waiting(owner: asyncpg.Connection, count: int) -> None:
    """Wait until so many others wait for a lock in this database."""
    async with asyncio.timeout(PATIENCE):
        while True:
            # In a transaction, Postgres lists the sessions that were there at the first look.
            await owner.execute("SELECT pg_stat_clear_snapshot()")
            found = await owner.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if found == count:
                return
            await asyncio.sleep(0.02)


async def test_an_unmerge_waits_for_a_merge_of_the_survivor(still: World, empty_url: str) -> None:
    world = still
    await world.add("sources", "a", name="A")
    for name in ("b", "x"):
        await world.add("sources", name)
    low, high = sorted(("b", "x"), key=world.id)
    await merged(world, "a", low)
    owner = await asyncpg.connect(empty_url)
    try:
        async with asyncio.TaskGroup() as group, owner.transaction():
            # The merge holds the survivor and waits here, and the unmerge waits for the merge.
            await owner.execute("SELECT FROM sources WHERE id = $1 FOR UPDATE", world.id(high))
            merging = group.create_task(merge(world, low, high))
            await waiting(owner, 1)
            unmerging = group.create_task(world.client.post(f"{world.at('a')}/unmerge"))
            await waiting(owner, 2)
    finally:
        await owner.close()
    assert (merging.result().status_code, unmerging.result().status_code) == (200, 200)
    assert "A" not in [each["name"] for each in (await world.get(high))["names"]]
    await unmerged(world, low)
    assert (await world.get(low))["names"] == []


async def test_two_sources_of_one_survivor_are_unmerged_at_once(
    still: World, empty_url: str
) -> None:
    world = still
    for name in ("s", "m", "n"):
        await world.add("sources", name, name=name.upper())
    for name in ("m", "n"):
        await merged(world, name, "s")
    owner = await asyncpg.connect(empty_url)
    try:
        async with asyncio.TaskGroup() as group, owner.transaction():
            await owner.execute("SELECT FROM sources WHERE id = $1 FOR UPDATE", world.id("s"))
            tasks = []
            for name in ("m", "n"):
                unmerge = world.client.post(f"{world.at(name)}/unmerge")
                tasks.append(group.create_task(unmerge))
                await waiting(owner, len(tasks))
    finally:
        await owner.close()
    assert [each.result().status_code for each in tasks] == [200, 200]
    assert (await world.get("s"))["names"] == []


async def test_what_was_being_written_during_a_merge_follows_too(
    still: World, empty_url: str
) -> None:
    world = still
    for name in ("s", "m"):
        await world.add("sources", name)
    owner = await asyncpg.connect(empty_url)
    try:
        async with owner.transaction():
            identity = await owner.fetchval(
                "INSERT INTO claims (id, text, review_status, attributions) VALUES"
                " (gen_random_uuid(), 'it', 'published',"
                " json_build_array(json_build_object('position', 0, 'source_id', $1::text)))"
                " RETURNING id::text",
                world.id("m"),
            )
            await merged(world, "m", "s")
            await work_off(empty_url)
            told = (await world.client.get(f"{world.at('m')}/merges")).json()["items"][0]
            assert told["state"] == "repointing"  # the claim, which nobody sees yet, names it
        await work_off(empty_url)
    finally:
        await owner.close()
    claim = (await world.client.get(f"/v1/claims/{identity}")).json()
    assert claim["attributions"][0]["source_id"] == world.id("s")
    assert (await settled(world, "m"))["state"] == "done"


async def test_a_step_that_is_cut_off_is_made_again(still: World, empty_url: str) -> None:
    world = still
    for name in ("s", "m"):
        await world.add("sources", name)
    hop = [{"position": 0, "source_id": "@m"}]
    for number in range(3):
        await world.add("claims", f"c{number}", attributions=hop)
    await merged(world, "m", "s")
    cut_off = Database(as_service(empty_url), patient())
    await cut_off.open()
    connection = await cut_off.connect()
    # A process that is killed holds a merge: nobody takes it before, and all is undone.
    await connection.execute("BEGIN")
    await connection.execute("SELECT FROM source_merges FOR NO KEY UPDATE")
    await connection.execute("UPDATE claims SET note = 'half' WHERE note IS NULL")
    await work_off(empty_url)
    assert (await world.get("c0"))["version"] == 1
    connection.terminate()
    await cut_off.close()
    async with asyncio.timeout(PATIENCE):
        while (await world.get("c0"))["version"] == 1:
            await work_off(empty_url)
    for number in range(3):
        claim = await world.get(f"c{number}")
        assert (claim["version"], claim["note"]) == (2, None)


async def test_a_record_that_can_not_follow_is_told_and_holds_up_no_other(
    still: World, empty_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = still
    monkeypatch.setattr(referrers, "MAX_RECORDS", 1)
    for name in ("s", "m"):
        await world.add("sources", name)
    hop = [{"position": 0, "source_id": "@m"}]
    for name in ("stuck", "c", "d"):
        await world.add("claims", name, attributions=hop, note=name)
    await merged(world, "m", "s")
    owner = await asyncpg.connect(empty_url)
    try:
        forbid = "CHECK (note IS DISTINCT FROM 'stuck' OR version = 1) NOT VALID"
        await owner.execute(f"ALTER TABLE claims ADD CONSTRAINT stuck {forbid}")
        for _ in range(2):
            await work_off(empty_url)
    finally:
        await owner.close()
    for name in ("c", "d"):
        assert (await world.get(name))["attributions"][0]["source_id"] == world.id("s")
    assert len([each for each in caplog.records if "can't name" in each.message]) == 1
    told = (await world.client.get(f"{world.at('m')}/merges")).json()["items"][0]
    assert (told["state"], told["remaining"]) == ("repointing", 1)
    assert told["changed"] == [{"type": "claim", "id": world.id("stuck"), "pointer": ""}]
    # So all questions still count the two sources as one.
    groups = (await world.client.get("/v1/claims/groups?by=source_id")).json()["groups"]
    assert [(each["value"], each["count"]) for each in groups["source_id"]] == [(world.id("s"), 3)]
    path = f"/v1/claims?id__in={world.id('stuck')}&expand=sources"
    brought = (await world.client.get(path)).json()["included"]["sources"]
    assert {world.named(each) for each in brought} == {"m", "s"}
    await world.patch("stuck", note="free")
    await work_off(empty_url)
    told = await settled(world, "m")
    assert (told["state"], told["changed"]) == ("done", [])


async def test_a_step_does_not_wait_for_a_long_writer(still: World, empty_url: str) -> None:
    world = still
    for name in ("s", "m", "parent"):
        await world.add("sources", name)
    await world.add("sources", "x", parent_id="@m")
    await merged(world, "m", "s")
    owner = await asyncpg.connect(empty_url)
    try:
        async with owner.transaction():
            await owner.execute("SELECT FROM sources WHERE id = $1 FOR UPDATE", world.id("s"))
            async with asyncio.timeout(PATIENCE):
                await work_off(empty_url)  # it would wait for the end of this transaction
            assert (await world.get("x"))["version"] == 1
        await work_off(empty_url)
    finally:
        await owner.close()
    assert (await world.get("x"))["parent_id"] == world.id("s")


async def test_a_deleted_record_comes_back_naming_the_survivor(world: World) -> None:
    for name in ("s", "m"):
        await world.add("sources", name)
    await world.add("claims", "c", attributions=[{"position": 0, "source_id": "@m"}])
    await world.delete("c")
    await merged(world, "m", "s")
    await settled(world, "m")
    answer = await world.client.post(f"{world.at('c')}/restore", headers=ANY)
    assert answer.status_code == 200, answer.text
    assert answer.json()["attributions"][0]["source_id"] == world.id("s")


async def test_an_export_during_a_merge_is_imported_again(still: World, empty_url: str) -> None:
    world = still
    for name in ("s", "m"):
        await world.add("sources", name, name=name)
    await world.add("claims", "c", attributions=[{"position": 0, "source_id": "@m"}])
    await merged(world, "m", "s")
    exported = (await world.client.get("/v1/export")).text

    async def send(lines: str) -> list[Record]:
        answer = await world.client.post(
            "/v1/import",
            params={"atomic": "true"},
            content=lines.encode(),
            headers={"content-type": "application/x-ndjson"},
        )
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()][:-1]

    assert {(each["status"], each["changed"]) for each in await send(exported)} == {(200, False)}
    [line] = [each for each in exported.splitlines() if f'"id":"{world.id("m")}","version"' in each]
    [refused] = await send(line.replace('"name":"m"', '"name":"other"'))
    assert refused["problem"]["code"] == "source-merged"
    [refused] = await send(json.dumps({"op": "delete", "type": "source", "id": world.id("m")}))
    assert refused["problem"]["code"] == "source-merged"
    await work_off(empty_url)  # the merged source is deleted then, and the line of it still holds
    [told] = await send(line)
    assert (told["status"], told["changed"]) == (200, False)


# --- identities ------------------------------------------------------------------------------


async def identify(world: World, source: str, identity: str) -> httpx.Response:
    """Store that a source turned out to be another one."""
    body = {"identity_id": world.id(identity), "basis": "He said so."}
    return await world.client.post(f"{world.at(source)}/identities", json=body)


async def identities(world: World, source: str) -> set[str]:
    answer = await world.client.get(f"{world.at(source)}/identities")
    assert answer.status_code == 200, answer.text
    return {world.named(each["identity_id"]) for each in answer.json()["items"]}


async def test_an_identity_of_a_merged_source_is_one_of_its_survivor(still: World) -> None:
    world = still
    for name in ("s", "m", "o"):
        await world.add("sources", name)
    await world.add("claims", "c", attributions=[{"position": 0, "source_id": "@m"}])
    await merged(world, "m", "s")
    answer = await identify(world, "m", "o")
    assert (answer.status_code, answer.json()["code"]) == (409, "source-merged")
    assert (await world.client.get(f"{world.at('m')}/identities")).status_code == 404
    assert faults(await identify(world, "s", "m")) == {"/identity_id": "self-reference"}
    answer = await identify(world, "o", "m")
    assert (answer.status_code, answer.json()["identity_id"]) == (201, world.id("s"))
    there = f"{world.at('o')}/identities/{world.id('m')}"
    assert (await world.client.get(there)).json() == answer.json()
    assert (await world.client.delete(there)).status_code == 204
    assert await identities(world, "o") == set()


async def test_identities_that_coincide_do_not_hinder_an_unmerge(still: World) -> None:
    world = still
    for name in ("s", "m", "x", "z"):
        await world.add("sources", name)
    for source, identity in (("m", "x"), ("m", "z"), ("s", "x")):
        assert (await identify(world, source, identity)).status_code == 201
    await merged(world, "m", "s")
    assert await identities(world, "s") == {"x", "z"}
    await merged(world, "x", "z")
    await unmerged(world, "m")
    assert (await identities(world, "m"), await identities(world, "s")) == ({"z"}, {"x", "z"})


# --- who sees what ---------------------------------------------------------------------------


async def test_nobody_learns_of_a_source_that_is_hidden(empty_url: str) -> None:
    async with serving(empty_url) as client:
        world = World(client)
        for name in ("s", "m"):
            await world.add("sources", name, confidentiality="restricted")
        await world.add("sources", "open")
        await world.add("claims", "c", attributions=[{"position": 0, "source_id": "@m"}])
        writes = [Scope[f"{each.name}S_WRITE"] for each in RecordType]
        key = keyring.written("mergewriters", "0" * 30)
        await allow(empty_url, key, writes)
        client.headers.update(bearer(key))
        for other, into in (("m", "open"), ("open", "m"), ("m", "s")):
            answer = await merge(world, other, into)
            assert answer.status_code == (422 if into == "open" else 404)
        client.headers.update(bearer(KEY))
        await merged(world, "m", "s")
        client.headers.update(bearer(key))
        for path in ("", "/merges"):
            assert (await client.get(world.at("m") + path)).status_code == 404
        assert (await client.post(f"{world.at('m')}/unmerge")).status_code == 404


async def test_as_of_shows_both_sources_as_they_were(still: World, empty_url: str) -> None:
    world = still
    for name in ("s", "m", "t"):
        await world.add("sources", name, name=name)

    async def now() -> str:
        answer = await world.client.get("/v1/sources", params={"limit": "1"})
        assert answer.status_code == 200
        return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    moments = {"apart": await now()}
    await merged(world, "m", "s")
    moments["into s"] = await now()
    await work_off(empty_url)
    await merged(world, "s", "t")
    moments["into t"] = await now()
    await work_off(empty_url)
    await unmerged(world, "s")
    await unmerged(world, "m")
    moments["apart again"] = await now()

    async def at(name: str, moment: str) -> Any:
        answer = await world.client.get(world.at(name), params={"as_of": moments[moment]})
        if answer.status_code == 308:
            return world.named(answer.headers["location"].partition("?")[0].rpartition("/")[2])
        assert answer.status_code == 200, answer.text
        told = answer.json()
        return [told["name"], *(each["name"] for each in told["names"])]

    for moment in ("apart", "apart again"):
        assert [await at(name, moment) for name in "mst"] == [["m"], ["s"], ["t"]]
    assert [await at(name, "into s") for name in "mst"] == ["s", ["s", "m"], ["t"]]
    assert [await at(name, "into t") for name in "mst"] == ["s", "t", ["t", "s", "m"]]


async def test_the_audit_log_has_a_merge_and_its_undoing(still: World) -> None:
    world = still
    for name in ("s", "m"):
        await world.add("sources", name, name=name)
    await merged(world, "m", "s")
    await unmerged(world, "m")
    for name, route in (("s", "merge"), ("m", "merge"), ("s", "unmerge"), ("m", "unmerge")):
        answer = await world.client.get("/v1/audit", params={"record_id": world.id(name)})
        routes = [each["route"] for each in answer.json()["items"]]
        assert f"POST /v1/sources/{{id}}/{route}" in routes


async def test_a_merged_source_becomes_as_confidential_as_its_survivor(
    still: World, empty_url: str
) -> None:
    world, client = still, still.client
    for name in ("s", "m", "deeper", "gone"):
        await world.add("sources", name)
    await world.add("claims", "c", attributions=[{"position": 0, "source_id": "@m"}])
    await merged(world, "gone", "m")
    await work_off(empty_url)  # nothing names this one, so it is deleted
    await merged(world, "deeper", "m")
    await merged(world, "m", "s")
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    await world.patch("s", confidentiality="restricted")
    everybody = keyring.written("mergereaders", "0" * 30)
    await allow(empty_url, everybody, [Scope.CLAIMS_WRITE])
    client.headers.update(bearer(everybody))
    for name in ("s", "m", "deeper", "gone"):
        for path in ("", f"?as_of={now}", "/revisions", "/merges"):
            answer = await client.get(world.at(name) + path)
            assert answer.status_code == 404, (name, path)
    lines = [json.loads(line) for line in (await client.get("/v1/export")).text.splitlines()]
    assert not [line for line in lines if line.get("type") == "source"]
    changes = (await client.get("/v1/changes", params={"since": "start"})).json()["items"]
    assert not [each for each in changes if each["type"] == "source" and each["record"]]
    client.headers.update(bearer(KEY))
    # It does not become less confidential: what stayed behind in it was not meant to be shown.
    await world.patch("s", confidentiality="public")
    await unmerged(world, "m")
    await unmerged(world, "gone")
    levels = [(await world.get(name))["confidentiality"] for name in ("s", "m", "gone")]
    assert levels == ["public", "restricted", "restricted"]


async def test_who_does_not_see_a_survivor_is_not_led_to_it_by_as_of(
    still: World, empty_url: str
) -> None:
    world = still
    for name in ("s", "m"):
        await world.add("sources", name)
    await merged(world, "m", "s")
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    owner = await asyncpg.connect(empty_url)
    try:  # as if the survivor alone were hidden
        await owner.execute("ALTER TABLE sources DISABLE TRIGGER USER")
        await owner.execute("UPDATE sources SET visibility = 2 WHERE id = $1", world.id("s"))
        await owner.execute("ALTER TABLE sources ENABLE TRIGGER USER")
    finally:
        await owner.close()
    key = keyring.written("mergereaders", "0" * 30)
    await allow(empty_url, key, [Scope.CLAIMS_WRITE])
    world.client.headers.update(bearer(key))
    answer = await world.client.get(world.at("m"), params={"as_of": now})
    assert answer.status_code == 404


# --- the feed and copies ---------------------------------------------------------------------


async def test_the_feed_tells_what_a_copy_needs(still: World, empty_url: str) -> None:
    world = still
    for name in ("s", "m"):
        await world.add("sources", name, name=name)
    await world.add("claims", "c", attributions=[{"position": 0, "source_id": "@m"}])
    copy: dict[str, Record] = {}
    since = "start"

    async def follow() -> list[tuple[str, str]]:
        nonlocal since
        told = (await world.client.get("/v1/changes", params={"since": since})).json()
        for item in told["items"]:
            if item["record"] is None:
                copy.pop(item["id"], None)
            else:
                copy[item["id"]] = item["record"]
        since = told["next_cursor"]
        for record in copy.values():  # no reference leads to nothing
            for hop in record.get("attributions", ()):
                assert hop["source_id"] in copy
        exported = (await world.client.get("/v1/export")).text.splitlines()[1:-1]
        assert {json.loads(line)["id"] for line in exported} == copy.keys()
        return [(world.named(each["id"]), each["op"]) for each in told["items"]]

    await follow()
    await merged(world, "m", "s")
    assert await follow() == [("m", "merged"), ("s", "updated")]
    assert copy[world.id("m")]["merged_into_id"] == world.id("s")
    await work_off(empty_url)
    assert await follow() == [("c", "updated"), ("m", "deleted")]
    history = (await world.client.get(f"{world.at('c')}/revisions")).json()["items"]
    assert history[0]["actor"] == "system"
    await unmerged(world, "m")
    assert await follow() == [("s", "updated"), ("m", "restored")]
    await work_off(empty_url)
    assert await follow() == [("c", "updated")]
