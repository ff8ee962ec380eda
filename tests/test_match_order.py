"""How well claims are ordered, on a public set of posts and the claims that they repeat.

The set is that of the CLEF-2020 CheckThat! lab, task 2. It is free for research, and not copied.
`TEST_MATCHING` names a directory with its `claims.tsv`, `dev.texts.tsv` and `dev.pairs.tsv`.
"""

from __future__ import annotations

import csv
import os
import uuid
from pathlib import Path

import asyncpg
import pytest

from api.core.caller import READER
from api.core.db import Database
from api.matching.claims import Search, find_claims
from api.matching.scoring import WordScorer
from api.matching.terms import Asked
from api.matching.vocabulary import Vocabulary
from tests.conftest import cloned, patient

WHERE = os.environ.get("TEST_MATCHING")
_INSERT = """
    INSERT INTO claims (id, text, note, language, review_status)
    SELECT r.id, r.text, r.note, 'en', 'published'
    FROM unnest($1::uuid[], $2::text[], $3::text[]) AS r(id, text, note)"""


def rows(name: str) -> list[list[str]]:
    """Read a file of the set."""
    assert WHERE is not None
    with (Path(WHERE) / name).open(newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


@pytest.mark.long
@pytest.mark.newest
@pytest.mark.skipif(WHERE is None, reason="TEST_MATCHING names no directory")
async def test_the_claim_that_a_post_repeats_comes_early(template: str) -> None:
    """Mean average precision of the first five, and how often it is among the first ten."""
    claims = [(uuid.UUID(int=int(n)), text, title) for n, text, title in rows("claims.tsv")[1:]]
    meant: dict[str, set[uuid.UUID]] = {}
    for post, _, claim, _ in rows("dev.pairs.tsv"):
        meant.setdefault(post, set()).add(uuid.UUID(int=int(claim)))
    async with cloned(template) as url:
        connection = await asyncpg.connect(url)
        for start in range(0, len(claims), 500):
            columns = zip(*claims[start : start + 500], strict=True)
            await connection.execute(_INSERT, *map(list, columns))
        await connection.execute("ANALYZE claims")
        await connection.close()
        database = Database(url, patient(pool_size=2))
        await database.open()
        await Vocabulary(database).count(at_once=True)
        precision, early = 0.0, 0
        async with database.connection() as searching:
            search = Search(searching, READER, WordScorer(), 10)
            for post, text in rows("dev.texts.tsv")[1:]:
                (found,) = await find_claims(search, [Asked(text, "en")])
                right = [
                    place
                    for place, each in enumerate(found.claims, 1)
                    if any(f'"{claim}"'.encode() in each.doc[:60] for claim in meant[post])
                ]
                precision += 1 / right[0] if right and right[0] <= 5 else 0
                early += bool(right)
        await database.close()
    print(f"MAP@5 {precision / len(meant):.4f}, S@10 {early / len(meant):.4f}")  # noqa: T201
    assert precision / len(meant) >= 0.86
    assert early / len(meant) >= 0.92
