"""Existing records that reviews name, found with a few statements for many reviews."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from api.core.large_input import in_thread
from api.core.request import encoded
from api.core.sql import render
from api.core.writing.look_up import Found, look_up
from api.core.writing.settle import stored
from api.records.nouns import RESOURCES
from api.sync.importing.reviews.mapping import Review
from api.sync.importing.reviews.reading import NAMESPACE
from api.sync.importing.state import ImportRun
from schemas.vocabularies import RecordType

Json = dict[str, Any]

# Each is found by itself, with LIMIT 1, for the reason that `api.core.writing.look_up` gives. The
# documents are not read, because articles may be large.
_BY_NAME: Final = """
    SELECT n.value, t.id::text, t.version, t.deleted_at IS NOT NULL, :sees({type}, t)
    FROM unnest(:values::text[]) AS n(value)
    CROSS JOIN LATERAL (
        SELECT e.record_id AS id FROM external_ids AS e
        WHERE e.record_type = '{type}' AND e.namespace = :namespace AND e.value = n.value
        LIMIT 1
    ) AS w
    JOIN {table} AS t ON t.id = w.id"""
_BY_URL: Final = """
    SELECT n.url, t.id::text, t.version
    FROM unnest(:urls::text[]) AS n(url)
    CROSS JOIN LATERAL (
        SELECT t.* FROM articles AS t WHERE t.url = n.url AND t.deleted_at IS NULL LIMIT 1
    ) AS t
    WHERE :sees(article, t)"""
_MAX_VERSIONS: Final = 100
"""In so many earlier versions of a claim, the newest ones, ratings are looked for."""
# The versions of a claim are read once, however many of its ratings are asked for.
_FORMER: Final = """
    SELECT c.id::text, f.rating::text
    FROM (
        SELECT w.id, w.version, array_agg(w.rating) AS ratings
        FROM unnest(:ids::text[]::uuid[], :versions::integer[], :ratings::text[]::jsonb[])
            AS w(id, version, rating)
        GROUP BY w.id, w.version
    ) AS c
    CROSS JOIN LATERAL (
        SELECT DISTINCT e.rating
        FROM (
            SELECT convert_from(r.doc, 'UTF8')::jsonb -> 'assessments' AS ratings
            FROM revisions AS r
            WHERE r.record_type = 'claim' AND r.record_id = c.id AND r.version < c.version
                AND r.doc IS NOT NULL
            ORDER BY r.version DESC
            LIMIT :most
        ) AS r
        CROSS JOIN LATERAL jsonb_array_elements(r.ratings) AS e(rating)
        WHERE e.rating = ANY(c.ratings)
    ) AS f"""


class Record(NamedTuple):
    """A source or an article that reviews name."""

    id: str
    version: int
    is_deleted: bool
    is_seen: bool  # by the caller


@dataclass
class Claim:
    """A claim as it is stored, or as the reviews so far have it written."""

    id: str
    version: int  # 0 if it is not written yet
    is_deleted: bool
    content: Json  # its properties, but for those that the server sets
    former: list[Json]  # ratings of reviews that it had before
    writes: int = 0  # how often the reviews so far have it written

    @property
    def ratings(self) -> list[Json]:
        """The ratings that it has."""
        ratings: list[Json] = self.content["assessments"]
        return ratings


@dataclass
class Known:
    """The existing records: the ids of claims, sources and articles by their external ids."""

    claim_ids: dict[str, str]
    claims: dict[str, Claim]  # by id
    hidden: Collection[str]  # the ids of claims that the caller does not see
    sources: dict[str, Record]
    articles: dict[str, Record]
    by_url: dict[str, Record]  # articles by their addresses


async def find_known(run: ImportRun, reviews: Sequence[Review]) -> Known:
    """Find the records that some reviews name and that exist already."""
    found = await look_up(
        run.connection,
        run.author,
        RESOURCES[RecordType.CLAIM],
        (),
        ids={each.own_id for each in reviews if each.own_id},
        external={(NAMESPACE, each.external_id) for each in reviews},
    )
    claims = await in_thread(_read_claims, found)
    articles = [article for each in reviews for article in each.articles]
    known = Known(
        {each.external_id: name for each in reviews if (name := _claim_id(each, found))},
        claims,
        found.hidden.keys(),
        await _by_name(run, RecordType.SOURCE, {s.external_id for r in reviews for s in r.sources}),
        await _by_name(run, RecordType.ARTICLE, {each.external_id for each in articles}),
        await _by_url(run, {each.url for each in articles if each.url}),
    )
    await _add_former_ratings(run, known, reviews)
    return known


def _read_claims(found: Found) -> dict[str, Claim]:
    resource = RESOURCES[RecordType.CLAIM]
    return {
        each.id: Claim(each.id, each.version, each.deleted, stored(resource, each.doc)[1], [])
        for each in found.current.values()
    }


def _claim_id(review: Review, found: Found) -> str | None:
    """Give the id of the claim of a review, if it is there."""
    if review.own_id in found.current:
        return review.own_id
    return found.ids.get((NAMESPACE, review.external_id))


async def _by_name(
    run: ImportRun, record_type: RecordType, values: Collection[str]
) -> dict[str, Record]:
    """Find records by their external ids, also those that the caller does not see."""
    if not values:
        return {}
    statement = RESOURCES[record_type].table.compose(_BY_NAME)
    query = render(statement, run.author.caller, values=list(values), namespace=NAMESPACE)
    return {name: Record(*record) for name, *record in await run.connection.fetch(*query)}


async def _by_url(run: ImportRun, urls: Collection[str]) -> dict[str, Record]:
    """Find the articles that the caller sees by their addresses."""
    if not urls:
        return {}
    query = render(_BY_URL, run.author.caller, urls=list(urls))
    rows = await run.connection.fetch(*query)
    return {
        url: Record(identity, version, is_deleted=False, is_seen=True)
        for url, identity, version in rows
    }


async def _add_former_ratings(run: ImportRun, known: Known, reviews: Sequence[Review]) -> None:
    """Note which ratings of reviews their claims had in earlier versions, and have no more."""
    asked = [
        (claim.id, claim.version, encoded(each.assessment).decode())
        for each in reviews
        if (claim := known.claims.get(known.claim_ids.get(each.external_id, ""))) is not None
        and not claim.is_deleted
        and each.assessment not in claim.ratings
    ]
    if not asked:
        return
    ids, versions, ratings = map(list, zip(*asked, strict=True))
    query = render(_FORMER, ids=ids, versions=versions, ratings=ratings, most=_MAX_VERSIONS)
    for identity, rating in await run.connection.fetch(*query):
        known.claims[identity].former.append(msgspec.json.decode(rating))
