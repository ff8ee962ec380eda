"""Figures: the filters on the figures of claims and denials."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.world import World

Record = dict[str, Any]


def figure(qualifier: str = "exact", **fields: Any) -> Record:
    """Write a figure; its numbers have to be given."""
    found: Record = {"metric": "killed", "unit": "person", "printed": "so many"}
    return found | {"qualifier": qualifier} | fields


# --- filters -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["claims", "denials"])
async def counted(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> tuple[World, str]:
    """Make records of either type whose figures have several units and populations."""
    world, plural = World(client), request.param
    soldiers = figure(value=100, population="Nordkoreanische Soldaten", unit="Person")
    await world.add(plural, "soldiers", quantities=[soldiers])
    await world.add(plural, "accents", quantities=[figure(value=20, population="Réfugiés")])
    money = figure("between", lower=5, upper=7, metric="money", unit="USD")
    euros = figure("at_least", lower=50, metric="money", unit="€", population="réfugiés")
    await world.add(plural, "money", quantities=[money, euros])
    await world.add(plural, "none")
    return world, plural


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("metric=killed", {"soldiers", "accents"}),
        ("metric=killed&unit=person", {"soldiers", "accents"}),
        ("metric=killed&unit=PERSON", {"soldiers", "accents"}),
        ("metric=killed&unit=USD", set()),
        ("metric=money&unit=usd", {"money"}),
        ("metric=killed&population=nordkoreanische soldaten", {"soldiers"}),
        ("metric=killed&population=soldaten", set()),
        ("metric=killed&population=REFUGIES", {"accents"}),
        ("metric=killed&population=refugies&quantity_to=19", set()),
        ("metric=killed&population=refugies&unit=person&quantity_from=20", {"accents"}),
        ("metric=killed&quantity_from=21", {"soldiers"}),
        # Unit, population and range are those of one and the same figure.
        ("metric=money&unit=USD&quantity_from=50", set()),
        ("metric=money&unit=USD&population=refugies", set()),
        ("metric=money&unit=€&population=refugies&quantity_from=50", {"money"}),
    ],
)
async def test_records_are_found_by_one_figure(
    counted: tuple[World, str], query: str, names: set[str]
) -> None:
    world, plural = counted
    assert await world.ask(plural, query) == names


@pytest.mark.parametrize("plural", ["claims", "denials"])
@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("unit=person", "unit"),
        ("population=soldiers", "population"),
        ("quantity_to=1", "quantity_to"),
        ("metric=killed&quantity_from=5&quantity_to=4.5", "quantity_to"),
        ("metric=killed&unit=", "unit"),
    ],
)
async def test_half_a_figure_is_refused(
    client: httpx.AsyncClient, plural: str, query: str, parameter: str
) -> None:
    answer = await client.get(f"/v1/{plural}?{query}")
    assert answer.status_code == 400
    assert [error["parameter"] for error in answer.json()["errors"]] == [parameter]


@pytest.mark.parametrize("plural", ["claims", "denials"])
async def test_figures_that_are_no_longer_there_find_nothing(
    client: httpx.AsyncClient, plural: str
) -> None:
    world = World(client)
    await world.add(plural, "r", quantities=[figure(value=1)])
    await world.patch("r", quantities=[figure(value=9)])
    assert await world.ask(plural, "metric=killed&quantity_to=5") == set()
    assert await world.ask(plural, "metric=killed&quantity_from=5") == {"r"}
    await world.delete("r")
    assert await world.ask(plural, "metric=killed") == set()


async def test_a_claim_and_a_denial_of_one_id_keep_their_own_figures(
    client: httpx.AsyncClient,
) -> None:
    world = World(client)
    claim = await world.add("claims", "c", quantities=[figure(value=1)])
    body = world.body("denials", {"quantities": [figure(value=9)], "tags": [world.tag]})
    denial = f"/v1/denials/{claim['id']}"
    headers = {"if-none-match": "*"}
    assert (await client.put(denial, json=body, headers=headers)).status_code == 201
    assert await world.ask("claims", "metric=killed&quantity_from=5") == set()
    assert (await client.delete(denial, headers={"if-match": "*"})).status_code == 204
    assert await world.ask("claims", "metric=killed") == {"c"}
