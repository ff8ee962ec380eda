"""Each index of claims, denials and links serves what a client can ask, or keeps a promise.

Every write of a record pays for all of them, so the list in the documentation says which is for
what, and each is looked for in the plan of a request that needs it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from schemas.vocabularies import Scope
from tests.conftest import allow, bearer
from tests.test_filter_plans import watched
from tests.test_plans import READER, Watched

__all__ = ["watched"]

PAGE: Final = Path(__file__).parents[1] / "docs/decisions/0052-what-a-row-costs.md"
TABLES: Final = (
    *("claims", "denials", "links", "external_ids"),
    *("revisions", "audit", "outbox", "feed", "figures", "figure_topics"),
)
REQUEST: Final = re.compile(r"^`(/v1/[^`]+)`$")


def _listed() -> dict[str, str]:
    """Read the table of the page: the name of each index, and what it is for."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    return {name: use for name, use in rows if name.endswith(("_idx", "_key", "_pkey"))}


async def test_the_page_names_every_index(connection: asyncpg.Connection[Any]) -> None:
    rows = await connection.fetch(
        "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename = ANY($1)",
        TABLES,
    )
    assert sorted(_listed()) == sorted(row["indexname"] for row in rows)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "path"),
    [(name, match[1]) for name, use in _listed().items() if (match := REQUEST.match(use))],
)
async def test_an_index_is_used_by_the_request_that_it_is_for(
    watched: Watched, name: str, path: str
) -> None:
    await allow(watched.url, key=READER, scopes=(Scope.READ,))
    used = set()
    for headers in ({}, bearer(READER)):
        for plan in await watched.plans(path, "SELECT", **headers):
            used |= _indexes_in(plan)
    assert name in used


def _indexes_in(plan: dict[str, Any]) -> set[str]:
    node = plan.get("Plan", plan)
    own = {node["Index Name"]} if "Index Name" in node else set()
    return own.union(*map(_indexes_in, node.get("Plans", ())))
