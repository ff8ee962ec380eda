"""Records of each type with few different values, for tests that ask every filter."""

from __future__ import annotations

import random
from typing import Any, Final

import httpx

from tests.test_figure_list import invented
from tests.world import World

Record = dict[str, Any]
RELATED: Final = ("restates", "conflicts_with", "about")
TEXTS: Final = ("The office burns", "An office is not it", "It burns")
NAMES: Final = ("Kim Lee", "Lee Park", "Park", "Ensemble")
TIMES: Final = (
    None,
    {"earliest": "2024-12-10", "latest": "2024-12-12"},
    {"earliest": "2024-12-11", "latest": "2024-12-11"},
    {"earliest": "2024-12-12", "latest": "2024-12-13"},
)


async def invented_world(client: httpx.AsyncClient) -> World:
    """Make records of each type with few different values, some of them hidden."""
    world = World(client)
    chance = random.Random(13)  # noqa: S311 - no secret

    def some(prefix: str, most: int, number: int) -> list[str]:
        return [f"@{prefix}{at}" for at in chance.sample(range(most), min(most, number))]

    apart = random.Random(17)  # noqa: S311 - no secret
    for number in range(8):
        earlier = some("s", number, chance.randrange(3))
        await world.add(
            "sources",
            f"s{number}",
            **_identified(world, number),
            name=apart.choice(NAMES),
            names=[{"name": each} for each in apart.sample(NAMES, apart.randrange(2))],
            kind=chance.choice(["person", "state", "group"]),
            country_code=chance.choice([None, "KR", "RU"]),
            confidentiality={0: "restricted", 2: "internal"}.get(number, "public"),
            parent_id=earlier[0] if earlier and number % 2 else None,
            members=[{"source_id": each} for each in earlier],
            relations=[_relation("source_id", each, "possibly_same_as") for each in earlier[:1]],
        )
    for number in range(12):
        credited = [
            {"source_id": each, "role": chance.choice(["wire", "photo"])}
            for each in some("s", 8, 2)
        ]
        await world.add(
            "articles",
            f"a{number}",
            **_identified(world, number),
            headline=apart.choice(TEXTS),
            url=f"https://paper.example/{world.tag}/{number}" if number % 2 else None,
            published=apart.choice(TIMES),
            kind=chance.choice(["article", "post"]),
            status="withheld" if number % 4 == 0 else "usable",
            language=chance.choice(["en", "en-GB", "ko"]),
            publisher_id=f"@s{chance.randrange(8)}",
            credits=credited[: chance.randrange(3)],
        )
    for number in range(40):
        await world.add(
            "claims",
            f"c{number}",
            **_identified(world, number),
            **_said(chance, world),
            text=apart.choice(TEXTS),
            occurred=apart.choice(TIMES),
            kind=chance.choice([None, "event", "quantity"]),
            certainty=chance.choice(["certain", "probable"]),
            polarity=chance.choice(["positive", "negative"]),
            parent_claim_id=next(iter(some("c", number, chance.randrange(2))), None),
            parties=[
                {"source_id": each, "role": chance.choice(["actor", "victim"])}
                for each in some("s", 8, chance.randrange(3))
            ],
            relations=[
                _relation("claim_id", each, chance.choice(RELATED))
                for each in some("c", number, chance.randrange(3))
            ],
        )
    for number in range(40):
        targets = [
            *({"claim_id": each} for each in some("c", 40, chance.randrange(3))),
            *({"denial_id": each} for each in some("d", number, chance.randrange(2))),
            *({"article_id": each} for each in some("a", 12, chance.randrange(2))),
            *({"text": "all of it"} for _ in range(chance.randrange(2))),
        ]
        await world.add(
            "denials",
            f"d{number}",
            **_identified(world, number),
            **_said(chance, world),
            text=apart.choice(TEXTS),
            kind=chance.choice(["full_denial", "omission", "apology"]),
            scope_source_id=chance.choice(["@s1", "@s2", "@s3"]),
            targets=[
                each | {"coverage": chance.choice(["explicit", "inferred"])}
                for each in targets or [{"text": "all of it"}]
            ],
        )
    return world


def _identified(world: World, number: int) -> Record:
    """Give an id in one of two other systems, or none."""
    if number % 3 == 0:
        return {}
    known = {"namespace": f"{world.tag}-{number % 3}", "value": str(number)}
    return {"external_ids": [known]}


def _relation(name: str, of: str, kind: str) -> Record:
    return {name: of, "kind": kind, "basis": "editor"}


def _said(chance: random.Random, world: World) -> Record:
    """Invent what claims and denials have in common."""
    hops: list[Record] = [
        {"source_id": f"@s{chance.randrange(8)}", "via_id": chance.choice([None, "@s1", "@s3"])}
        if chance.random() < 0.8
        else {"printed": "an official"}
        for _ in range(chance.randrange(3))
    ]
    return {
        "language": chance.choice(["en", "en-GB", "ko", "und"]),
        "tags": [f"{world.tag} {at}" for at in range(2) if chance.random() < 0.4],
        "validity": chance.choice(["standing", "standing", "superseded"]),
        "review_status": chance.choice(["published", "published", "draft"]),
        "attributions": [{"position": at, **hop} for at, hop in enumerate(hops)],
        "quantities": [invented(chance, world.tag) for _ in range(chance.randrange(3))],
        "stated": chance.choice([None, {"earliest": "2024-12-10", "latest": "2024-12-12"}]),
    }
