"""Write a review with its sources and articles in one transaction, so that it is never half there.

Sources and articles that are there already stay as they are. So does a claim, but for the rating in
it that has the address of the review, and that only if the claim has never had the same rating yet:
whoever edits them does not edit in vain.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any, Final, NamedTuple

import msgspec

from api.core.errors import (
    GONE,
    NOT_UNIQUE,
    PRECONDITION_FAILED,
    Problem,
    contended,
    pointer,
)
from api.core.request import encoded, new_id
from api.core.sql import render
from api.core.writing.look_up import Current, Found, look_up
from api.records.nouns import RESOURCES
from api.sync.importing.applying import apply_lines
from api.sync.importing.results import Done, numbered_refusal
from api.sync.importing.reviews.mapping import NAMESPACE, Article, Review, Source, attributions
from api.sync.importing.state import ImportRun
from schemas.base import Path
from schemas.claims import Assessment
from schemas.imports import ImportResult
from schemas.vocabularies import RecordType

Json = dict[str, Any]

_TRIES: Final = 3
_BY_URL: Final = """
    SELECT t.id, t.url FROM articles AS t
    WHERE t.url = ANY(:urls::text[]) AND t.deleted_at IS NULL AND :sees(article, t)"""
_MAX_VERSIONS: Final = 100
"""In so many earlier versions of a claim, the newest ones, a rating is looked for."""
_HAD_RATING: Final = """
    SELECT EXISTS (
        SELECT FROM (
            SELECT r.doc FROM revisions AS r
            WHERE r.record_type = 'claim' AND r.record_id = :id AND r.version < :version
                AND r.doc IS NOT NULL
            ORDER BY r.version DESC
            LIMIT :most
        ) AS r
        WHERE convert_from(r.doc, 'UTF8')::jsonb -> 'assessments' @> :ratings::jsonb
    )"""


class _Refused(Exception):  # noqa: N818 - it is no error
    """A review is refused with a problem, which others may have caused at the same moment."""

    def __init__(self, done: Done, *, may_pass: bool = False) -> None:
        super().__init__()
        self.done, self.may_pass = done, may_pass


class _Line(NamedTuple):
    """A line of an import that writes a record of a review, and where the record stands in it."""

    path: Path
    line: Json


async def write_review(run: ImportRun, number: int, review: Review) -> Done:
    """Write what a review says, all of it or nothing, over the connection of a run."""
    done = numbered_refusal(number, RecordType.CLAIM, None, contended())
    for _ in range(_TRIES):
        try:
            async with run.connection.transaction():
                await run.prepare()
                return await _write(run, number, review)
        except _Refused as refused:
            done = refused.done
            if not refused.may_pass:
                break
    return done


async def _write(run: ImportRun, number: int, review: Review) -> Done:
    """Write a review; raise the refusal that undoes what was written of it."""
    current, identity = await _find_claim(run, number, review)
    if current is None:
        lines = await _new_records(run, number, review, identity)
    elif (line := await _with_rating(run, current, review)) is not None:
        lines = [line]
    else:
        result = ImportResult(
            line=number,
            status=200,
            type=RecordType.CLAIM,
            id=identity,
            version=current["version"],
        )
        return Done("unchanged", result)
    *_, last = await _apply(run, number, lines)
    result = msgspec.convert({**last[1], "line": number}, ImportResult)
    return Done(last[0], result)


async def _find_claim(run: ImportRun, number: int, review: Review) -> tuple[Json | None, str]:
    """Find the claim of a review, or choose the id of a new one."""
    name = (NAMESPACE, review.external_id)
    ids = [review.own_id] if review.own_id else []
    found = await look_up(
        run.connection, run.author, RESOURCES[RecordType.CLAIM], (), ids=ids, external=[name]
    )
    identity = review.own_id if review.own_id in found.current else found.ids.get(name)
    if identity is None:
        return None, new_id()
    if identity in found.hidden:
        raise _refused(number, review.path, _hidden(RecordType.CLAIM))
    current = found.current[identity]
    if current.deleted:
        raise _refused(number, review.path, _deleted(RecordType.CLAIM, current))
    document: Json = msgspec.json.decode(current.doc)
    return document, identity


async def _with_rating(run: ImportRun, claim: Json, review: Review) -> _Line | None:
    """Put the rating into a claim, in the place of the one with its address; null if it is not new.

    A rating that an earlier version had was changed or removed by somebody since.
    """
    rating = msgspec.to_builtins(msgspec.convert(review.assessment, Assessment))
    ratings = list(claim["assessments"])
    if rating in ratings or await _had_rating(run, claim, rating):
        return None
    places = [place for place, each in enumerate(ratings) if each["url"] == rating["url"]]
    if places:
        ratings[places[0]] = rating
    else:
        ratings.append(rating)
    line = {
        "type": RecordType.CLAIM,
        "id": claim["id"],
        "if_match": f'"v{claim["version"]}"',
        "data": {**claim, "assessments": ratings},
    }
    return _Line(review.path, line)


async def _had_rating(run: ImportRun, claim: Json, rating: Json) -> bool:
    """Tell whether an earlier version of a claim had exactly this rating."""
    query = render(
        _HAD_RATING,
        id=claim["id"],
        version=claim["version"],
        most=_MAX_VERSIONS,
        ratings=encoded([rating]).decode(),
    )
    return bool(await run.connection.fetchval(*query))


async def _new_records(run: ImportRun, number: int, review: Review, identity: str) -> list[_Line]:
    """Give the lines of a claim that is not there, and of its sources and articles that are not."""
    lines: dict[str, _Line] = {}
    publishers = [each.publisher for each in review.articles if each.publisher is not None]
    sources = await _known_sources(run, number, [*review.claimants, *publishers])
    for source in (*review.claimants, *publishers):
        if source.external_id not in sources:
            sources[source.external_id] = source_id = new_id()
            lines[source_id] = _line(RecordType.SOURCE, source, source_id, source.record)
    articles = await _known_articles(run, number, review.articles)
    for article in review.articles:
        if article.external_id not in articles:
            articles[article.external_id] = article_id = new_id()
            record = dict(article.record)
            if article.publisher is not None:
                record["publisher_id"] = sources[article.publisher.external_id]
            lines[article_id] = _line(RecordType.ARTICLE, article, article_id, record)
    printed = dict.fromkeys(articles[each.external_id] for each in review.articles)
    claim = {
        **review.claim,
        "attributions": attributions(review.claimants, sources),
        "appearances": [{"article_id": each} for each in printed],
        "assessments": [review.assessment],
        "external_ids": [{"namespace": NAMESPACE, "value": review.external_id}],
    }
    line = {"type": RecordType.CLAIM, "id": identity, "data": claim}
    return [*lines.values(), _Line(review.path, line)]


def _line(record_type: RecordType, given: Source | Article, identity: str, record: Json) -> _Line:
    named = {"external_ids": [{"namespace": NAMESPACE, "value": given.external_id}]}
    return _Line(given.path, {"type": record_type, "id": identity, "data": record | named})


async def _known_sources(run: ImportRun, number: int, sources: Sequence[Source]) -> dict[str, str]:
    """Give the ids of the sources that are there, by their external ids."""
    if not sources:
        return {}
    names = {(NAMESPACE, each.external_id) for each in sources}
    resource = RESOURCES[RecordType.SOURCE]
    found = await look_up(run.connection, run.author, resource, (), external=names)
    return _live(found, number, RecordType.SOURCE, sources)


async def _known_articles(
    run: ImportRun, number: int, articles: Sequence[Article]
) -> dict[str, str]:
    """Give the ids of the articles that are there, by their external ids.

    An article that somebody else has recorded is found by its address.
    """
    if not articles:
        return {}
    names = {(NAMESPACE, each.external_id) for each in articles}
    resource = RESOURCES[RecordType.ARTICLE]
    found = await look_up(run.connection, run.author, resource, (), external=names)
    known = _live(found, number, RecordType.ARTICLE, articles)
    urls = {each.record["url"]: each.external_id for each in articles if "url" in each.record}
    rows = await run.connection.fetch(*render(_BY_URL, run.author.caller, urls=list(urls)))
    return {urls[row["url"]]: str(row["id"]) for row in rows} | known


def _live(
    found: Found, number: int, record_type: RecordType, named: Iterable[Source | Article]
) -> dict[str, str]:
    """Give the ids of the records that were found and are not deleted; refuse hidden ones."""
    known = {}
    for each in named:
        identity = found.ids.get((NAMESPACE, each.external_id))
        if identity in found.hidden:
            raise _refused(number, each.path, _hidden(record_type))
        if identity is not None and identity in found.current:
            if found.current[identity].deleted:
                raise _refused(number, each.path, _deleted(record_type, found.current[identity]))
            known[each.external_id] = identity
    return known


def _hidden(record_type: RecordType) -> Problem:
    detail = f"A {record_type} that your key does not see has the external id of this one."
    return Problem(NOT_UNIQUE, detail, errors=[{"code": "not-unique", "detail": detail}])


def _deleted(record_type: RecordType, current: Current) -> Problem:
    detail = (
        f"The {record_type} {current.id}, which has the external id of this one, was deleted. "
        "Restore it first."
    )
    error = {"code": "unknown-reference", "detail": detail}
    return Problem(GONE, detail, errors=[error], version=current.version)


def _refused(number: int, path: Path, problem: Problem) -> _Refused:
    """Refuse a review because of a record at a place in it."""
    problem.errors = [{"pointer": pointer(path), **error} for error in problem.errors]
    return _Refused(numbered_refusal(number, RecordType.CLAIM, None, problem))


# --- over the lines of an import ----------------------------------------------------------------


async def _apply(
    run: ImportRun, number: int, lines: Sequence[_Line]
) -> list[tuple[str, Mapping[str, Any]]]:
    """Apply the lines of a review; raise the refusal of the first that is refused."""
    numbered = [(place, encoded(each.line)) for place, each in enumerate(lines, 1)]
    async with _inner(run) as inner:
        await apply_lines(inner, numbered)
        results = sorted(inner.results[-1], key=lambda each: each[1]["line"])
    for (counted_as, result), each in zip(results, lines, strict=True):
        if counted_as == "refused":
            problem = result["problem"]
            for error in problem["errors"]:
                if "pointer" in error:
                    error["pointer"] = pointer(each.path)
            refused = msgspec.convert({**result, "line": number, "id": None}, ImportResult)
            may_pass = problem["code"] in (NOT_UNIQUE.name, PRECONDITION_FAILED.name)
            raise _Refused(Done("refused", refused), may_pass=may_pass)
    return [(counted_as, result) for counted_as, result in results]


@asynccontextmanager
async def _inner(run: ImportRun) -> AsyncIterator[ImportRun]:
    """Make a run that leaves the transaction to its caller, over the connection of another run."""
    inner = ImportRun(
        run.database,
        run.author,
        atomic=False,
        dry_run=True,
        sender=run.sender,
        _connection=run.connection,
    )
    with closing(inner):
        yield inner
