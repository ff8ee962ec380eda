"""What is promised of sources beyond the common contract: their rules, defaults and questions."""

from __future__ import annotations

import unicodedata
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.world import World, content, faults


@pytest.fixture
def world(client: httpx.AsyncClient) -> World:
    return World(client)


# --- defaults and rules ----------------------------------------------------------------------


async def test_a_source_needs_only_its_kind_and_a_name(world: World) -> None:
    source = await world.add("sources", "s", kind="state", name="Ruritania")
    assert content(source) == {
        "kind": "state",
        "identification": "named",
        "name": "Ruritania",
        "description": None,
        "names": [],
        "roles": [],
        "parent_id": None,
        "members": [],
        "group_size": None,
        "country_code": None,
        "url": None,
        "confidentiality": "public",
        "relations": [],
        "merged_into_id": None,
        "external_ids": [],
        "tags": [world.tag],
        "note": None,
    }


async def test_the_parts_of_a_source_have_their_defaults(world: World) -> None:
    await world.add("sources", "member")
    source = await world.add(
        "sources",
        "s",
        names=[{"name": "R."}],
        roles=[{"title": "MP"}],
        members=[{"source_id": "@member"}],
        group_size={"lower": 10},
    )
    assert source["names"] == [{"name": "R.", "language": "und", "kind": "alias"}]
    assert source["roles"] == [
        {"title": "MP", "organisation_id": None, "country_code": None, "from": None, "until": None}
    ]
    assert source["members"] == [{"source_id": world.id("member"), "role": "member"}]
    assert source["group_size"] == {"lower": 10, "upper": None}


@pytest.mark.parametrize(
    ("name", "description", "identification"),
    [("Lee", None, "named"), ("Lee", "an MP", "named"), (None, "a US official", "described")],
)
async def test_how_well_a_source_is_identified_follows_from_its_name(
    world: World, name: str | None, description: str | None, identification: str
) -> None:
    source = await world.add("sources", "s", name=name, description=description)
    assert source["identification"] == identification


async def test_a_source_has_a_name_or_a_description(world: World) -> None:
    assert await world.refused("sources", name=None) == {"/name": "required"}
    refused = await world.refused("sources", name=None, names=[{"name": "known as this"}])
    assert refused == {"/name": "required"}


async def test_a_source_without_a_kind_is_refused(client: httpx.AsyncClient) -> None:
    assert faults(await client.post("/v1/sources", json={"name": "Lee"})) == {"/kind": "required"}


async def test_a_named_source_has_a_name(world: World) -> None:
    told = {"name": None, "description": "an official", "identification": "named"}
    assert await world.refused("sources", **told) == {"/name": "required"}
    # Losing its name, a named source is no longer a valid one.
    await world.add("sources", "s", description="an official")
    response = await world.client.patch(
        world.at("s"),
        json={"name": None},
        headers={"content-type": "application/merge-patch+json", "if-match": "*"},
    )
    assert faults(response) == {"/name": "required"}


async def test_an_anonymous_source_has_no_name_at_all(world: World) -> None:
    told = {"identification": "anonymous", "description": "a US official"}
    assert await world.refused("sources", **told) == {"/name": "not-allowed"}
    names = [{"name": "Deep Throat", "kind": "alias"}]
    refused = await world.refused("sources", name=None, names=names, **told)
    assert refused == {"/names": "not-allowed"}
    source = await world.add("sources", "s", name=None, **told)
    assert (source["identification"], source["name"]) == ("anonymous", None)
    assert await world.refused("sources", name=None, identification="anonymous") == {
        "/name": "required"
    }


@pytest.mark.parametrize("identification", ["described", "collective", "implicit"])
async def test_other_sources_may_have_a_name_or_not(world: World, identification: str) -> None:
    for name in ("Lee", None):
        told = {"name": name, "description": "them", "identification": identification}
        source = await world.add("sources", str(name), **told)
        assert source["identification"] == identification


async def test_a_group_has_a_size_in_order(world: World) -> None:
    for size, expected in [
        ({}, {"/group_size/lower": "required"}),
        ({"lower": 10, "upper": 9}, {"/group_size/upper": "out-of-order"}),
        ({"lower": -1}, {"/group_size/lower": "invalid-value"}),
        ({"upper": 2.5}, {"/group_size/upper": "wrong-type"}),
    ]:
        assert await world.refused("sources", group_size=size) == expected
    for size in ({"lower": 9, "upper": 9}, {"lower": 9}, {"upper": 9}):
        await world.add("sources", str(size), group_size=size)


async def test_a_role_has_dates_that_exist(world: World) -> None:
    roles: list[dict[str, Any]] = [
        {"title": "MP", "from": since, "until": until}
        for since, until in [("2024", None), ("2024-02", "2024"), ("2024-02-29", "2024-03")]
    ]
    assert (await world.add("sources", "s", roles=roles))["roles"][2]["from"] == "2024-02-29"
    refused = await world.refused(
        "sources",
        roles=[*roles, {"title": "MP", "from": "2023-02-29", "until": "2023-04-31"}],
    )
    assert refused == dict.fromkeys(["/roles/3/from", "/roles/3/until"], "impossible-date")
    for since, until in [("2024", "2023"), ("2024-03", "2024-02-29"), ("2024-03-02", "2024-03-01")]:
        role = {"title": "MP", "from": since, "until": until}
        assert await world.refused("sources", roles=[role]) == {"/roles/0/until": "out-of-order"}
    for wrong in ("2024-13", "24", "2024-2", "2024-02-30T00:00:00Z", "2024\n", ""):
        refused = await world.refused("sources", roles=[{"title": "MP", "from": wrong}])
        assert refused == {"/roles/0/from": "invalid-value"}


@pytest.mark.parametrize("code", ["kr", "KOR", "K", "", "K1", "ÜK", "KR\n"])
async def test_a_country_has_two_capital_letters(world: World, code: str) -> None:
    refused = await world.refused("sources", country_code=code)
    assert refused == {"/country_code": "invalid-value"}


async def test_a_member_twice_is_refused(world: World) -> None:
    await world.add("sources", "m")
    member = {"source_id": "@m"}
    refused = await world.refused(
        "sources", members=[member, member | {"role": "author"}, member | {"role": "member"}]
    )
    assert refused == {"/members/2": "duplicate-item"}


@pytest.mark.parametrize("kind", ["possibly_same_as", "distinct_from"])
async def test_a_symmetric_relation_of_sources_is_stored_once(world: World, kind: str) -> None:
    await world.add("sources", "a")
    relation = {"source_id": "@a", "kind": kind}
    source = await world.add("sources", "b", relations=[relation])
    assert source["relations"] == [
        {"source_id": world.id("a"), "kind": kind, "basis": "editor", "state": "confirmed",
         "note": None}
    ]  # fmt: skip
    there = {"relations": [{"source_id": "@b", "kind": kind}]}
    response = await world.put("a", {"kind": "person", "name": "A"} | there)
    assert (response.status_code, response.json()["code"]) == (409, "relation-exists")
    assert await world.ask("sources", f"related_to=@b&relation_kind={kind}") == {"a"}
    assert await world.ask("sources", f"related_to=@a&relation_kind={kind}") == {"b"}
    assert await world.ask("sources", "related_to=@a&relation_kind=unit_of") == set()
    await world.patch("b", relations=[])
    await world.patch("a", **there)


async def test_a_directed_relation_of_sources_may_run_both_ways(world: World) -> None:
    await world.add("sources", "a")
    await world.add("sources", "b", relations=[{"source_id": "@a", "kind": "account_of"}])
    await world.patch("a", relations=[{"source_id": "@b", "kind": "account_of"}])
    twice = [{"source_id": "@a", "kind": "unit_of"}] * 2
    assert await world.refused("sources", relations=twice) == {"/relations/1": "duplicate-item"}


async def test_a_source_does_not_refer_to_itself(world: World) -> None:
    await world.add("sources", "s")
    own = {
        "parent_id": "@s",
        "members": [{"source_id": "@s"}],
        "roles": [{"title": "head", "organisation_id": "@s"}],
    }
    refused = faults(await world.put("s", {"kind": "state", "name": "S"} | own))
    pointers = ("/parent_id", "/members/0/source_id", "/roles/0/organisation_id")
    assert refused == dict.fromkeys(pointers, "self-reference")


async def test_a_source_chosen_by_its_own_id_does_not_refer_to_itself(world: World) -> None:
    identity = str(uuid4())
    body = {"kind": "state", "name": "S", "parent_id": identity}
    response = await world.client.put(
        f"/v1/sources/{identity}", json=body, headers={"if-none-match": "*"}
    )
    assert faults(response) == {"/parent_id": "self-reference"}


async def test_what_a_source_refers_to_exists(world: World) -> None:
    nothing = str(uuid4())
    refused = await world.refused(
        "sources",
        parent_id=nothing,
        members=[{"source_id": nothing}],
        roles=[{"title": "head", "organisation_id": nothing}],
    )
    pointers = ("/parent_id", "/members/0/source_id", "/roles/0/organisation_id")
    assert refused == dict.fromkeys(pointers, "unknown-reference")


async def test_a_merge_is_not_something_that_a_client_writes(world: World) -> None:
    other = await world.add("sources", "other")
    refused = await world.refused("sources", merged_into_id=other["id"])
    assert refused == {"/merged_into_id": "read-only"}
    # What was read can be sent back.
    assert (await world.put("other", other)).status_code == 200


# --- what can be asked -----------------------------------------------------------------------


@pytest.fixture(scope="module")
async def known(client: httpx.AsyncClient) -> World:
    """Create sources with names of all sorts."""
    world = World(client)
    await world.add(
        "sources",
        "korea",
        kind="state",
        name="North Korea",
        names=[
            {"name": "Pyongyang", "kind": "metonym"},
            {"name": "조선민주주의인민공화국", "kind": "native_script"},
            {"name": "the North", "kind": "short"},
        ],
        country_code="KP",
    )
    await world.add(
        "sources",
        "ministry",
        kind="government_body",
        name="Ministère des Affaires étrangères",
        parent_id="@korea",
        country_code="KP",
    )
    await world.add("sources", "official", name=None, description="a US official")
    await world.add(
        "sources", "hidden", name=None, description="x", identification="anonymous",
        confidentiality="protected",
    )  # fmt: skip
    await world.add("sources", "percent", kind="organisation", name="100% True")
    await world.add("sources", "hundred", kind="organisation", name="1000 True")
    await world.add("sources", "under", kind="platform", name="a_b")
    await world.add("sources", "letter", kind="platform", name="axb")
    await world.add("sources", "slash", kind="platform", name="c:\\temp")
    await world.add("sources", "greek", name="ΣΊΣΥΦΟΣ")
    await world.add(
        "sources", "group", kind="group", identification="collective",
        members=[{"source_id": "@korea"}, {"source_id": "@official", "role": "signatory"}],
    )  # fmt: skip
    await world.add("sources", "outer", kind="group", members=[{"source_id": "@group"}])
    return world


ASKED: list[tuple[str, set[str]]] = [
    ("kind=state", {"korea"}),
    ("kind__in=state&kind__in=government_body", {"korea", "ministry"}),
    ("kind__nin=person&kind__nin=group&kind__nin=platform&kind__nin=organisation", {"korea"}
     | {"ministry"}),
    ("identification=anonymous", {"hidden"}),
    ("identification__in=described&identification__in=collective", {"official", "group"}),
    ("confidentiality=protected", {"hidden"}),
    ("confidentiality__nin=public", {"hidden"}),
    ("country_code=KP", {"korea", "ministry"}),
    ("country_code=KR", set()),
    ("parent_id=@korea", {"ministry"}),
    ("parent_id=@ministry", set()),
    ("member_id=@korea", {"group"}),
    ("member_id=@official", {"group"}),
    # Directly; through groups is a question to claims.
    ("member_id=@group", {"outer"}),
    ("member_id=@outer", set()),
    ("name=North Korea", {"korea"}),
    ("name=NORTH korea", {"korea"}),
    ("name=pyongyang", {"korea"}),
    ("name=Pyöngyâng", {"korea"}),
    ("name=조선민주주의인민공화국", {"korea"}),
    ("name=North", {"korea"}),
    ("name=KOREA north", {"korea"}),
    ("name=North Pyongyang", set()),
    ("name=affaires, ministère", {"ministry"}),
    ("name=Nor", set()),
    ("name=ministere des affaires etrangeres", {"ministry"}),
    (f"name={unicodedata.normalize('NFD', 'MINISTÈRE DES AFFAIRES ÉTRANGÈRES')}", {"ministry"}),
    # A description is no name.
    ("name=a US official", set()),
    ("name=100% true", {"percent"}),
    ("name=%", set()),
    ("name__startswith=pyong", {"korea"}),
    ("name__startswith=THE n", {"korea"}),
    ("name__startswith=조선", {"korea"}),
    ("name__startswith=ministère", {"ministry"}),
    ("name__startswith=korea", set()),
    ("name__startswith=100", {"percent", "hundred"}),
    ("name__startswith=100%", {"percent"}),
    ("name__startswith=%", set()),
    ("name__startswith=_", set()),
    ("name__startswith=a_", {"under"}),
    ("name__startswith=a", {"under", "letter"}),
    ("name__startswith=c:\\", {"slash"}),
    ("name__startswith=\\", set()),
    ("name__startswith=σίσ", {"greek"}),
    ("name=pyongyang&kind=state&country_code=KP", {"korea"}),
    ("name=pyongyang&kind=person", set()),
]  # fmt: skip


@pytest.mark.parametrize(("query", "names"), ASKED, ids=[query for query, _ in ASKED])
async def test_sources_can_be_asked(known: World, query: str, names: set[str]) -> None:
    assert await known.ask("sources", query) == names


async def test_a_name_given_up_no_longer_finds_its_source(world: World) -> None:
    await world.add("sources", "s", name="Old", names=[{"name": "Older"}])
    await world.patch("s", name="New", names=[])
    assert await world.ask("sources", "name=old") == set()
    assert await world.ask("sources", "name=older") == set()
    assert await world.ask("sources", "name=new") == {"s"}
