"""Plan what many reviews write, each after those before it, from what is there.

Sources and articles that are there already stay as they are. So does a claim, but for the rating in
it that has the address of the review, and that only if the claim has never had the same rating yet:
whoever edits them does not edit in vain.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from api.core.errors import GONE, NOT_UNIQUE, Problem, pointer
from api.core.request import encoded, new_id
from api.core.writing.settle import draft
from api.records.nouns import RESOURCES
from api.sync.importing.lines import require_scope
from api.sync.importing.results import Done, numbered_refusal
from api.sync.importing.reviews.articles import Article
from api.sync.importing.reviews.known import Claim, Known, Record
from api.sync.importing.reviews.mapping import Review
from api.sync.importing.reviews.reading import NAMESPACE
from api.sync.importing.reviews.sources import Source, attributions
from api.sync.importing.state import ImportRun
from schemas.base import Path
from schemas.imports import ImportResult
from schemas.vocabularies import RecordType

Json = dict[str, Any]
Named = TypeVar("Named", Source, Article)


class PlannedLine(NamedTuple):
    """A line of an import that writes a record of a review, and where the record stands in it."""

    number: int  # of the review
    path: Path
    turn: int  # how often the lines before have the record written
    line: bytes


class NumberedReview(NamedTuple):
    """A review of a document, or the problem of one that can't be read; numbers begin at 1."""

    number: int
    review: Review | Problem


class Plan:
    """The lines that reviews have written, and the results of those that have none."""

    def __init__(self, run: ImportRun, known: Known) -> None:
        """Begin with what is there; it is brought up to date by each review."""
        self.done: dict[int, Done] = {}
        self._lines: list[PlannedLine] = []
        self._run, self._known = run, known

    @property
    def lines(self) -> list[PlannedLine]:
        """The lines in an order in which few have a record written that was written just before."""
        return sorted(self._lines, key=lambda each: each.turn)

    def add(self, number: int, review: Review | Problem) -> None:
        """Add a review: all lines that it needs, or its result."""
        try:
            if isinstance(review, Problem):
                raise review
            claim = self._claim(review)
            if claim is None:
                self._create(number, review)
            elif review.assessment in claim.ratings or review.assessment in claim.former:
                self.done[number] = _unchanged(number, claim)
            else:
                self._rate(number, review, claim)
        except Problem as problem:
            self.done[number] = numbered_refusal(number, RecordType.CLAIM, None, problem)

    def _claim(self, review: Review) -> Claim | None:
        """Give the claim of a review, if it is there; raise a problem if it can't be used."""
        identity = self._known.claim_ids.get(review.external_id)
        if identity is None:
            return None
        if identity in self._known.hidden:
            raise _placed(review.path, _hidden(RecordType.CLAIM))
        claim = self._known.claims[identity]
        if claim.is_deleted:
            raise _placed(review.path, _deleted(RecordType.CLAIM, identity, claim.version))
        return claim

    def _rate(self, number: int, review: Review, claim: Claim) -> None:
        """Put the rating into a claim, in the place of the one with its address."""
        require_scope(self._run, RecordType.CLAIM)
        rating, ratings = review.assessment, list(claim.ratings)
        places = [place for place, each in enumerate(ratings) if each["url"] == rating["url"]]
        replaced = [ratings[place] for place in places[:1]]
        if places:
            ratings[places[0]] = rating
        else:
            ratings.append(rating)
        content = {**claim.content, "assessments": ratings}
        try:
            draft(RESOURCES[RecordType.CLAIM], content)
        except Problem as problem:  # such as of too many ratings
            raise _placed(review.path, problem) from None
        claim.former += replaced
        self._write_claim(number, review, claim, content)

    def _create(self, number: int, review: Review) -> None:
        """Write a claim that is not there, and its sources and articles that are not."""
        sources = _first(each for each in review.sources if self._source_id(each) is None)
        articles = _first(each for each in review.articles if self._article_id(each) is None)
        require_scope(self._run, RecordType.CLAIM)
        if sources:
            require_scope(self._run, RecordType.SOURCE)
        if articles:
            require_scope(self._run, RecordType.ARTICLE)
        # From here on, nothing is refused: other reviews may use what this one creates.
        for source in sources:
            self._known.sources[source.external_id] = self._add(
                number, RecordType.SOURCE, source, source.record
            )
        for article in articles:
            record = dict(article.record)
            if article.publisher is not None:
                record["publisher_id"] = self._known.sources[article.publisher.external_id].id
            self._known.articles[article.external_id] = self._add(
                number, RecordType.ARTICLE, article, record
            )
        ids = {
            each.external_id: self._known.sources[each.external_id].id for each in review.claimants
        }
        printed = dict.fromkeys(map(self._article_id, review.articles))
        claim = Claim(new_id(), 0, is_deleted=False, content={}, former=[])
        self._known.claims[claim.id] = claim
        self._known.claim_ids[review.external_id] = claim.id
        content = {
            **review.claim,
            "attributions": attributions(review.claimants, ids),
            "appearances": [{"article_id": each} for each in printed],
            "assessments": [review.assessment],
            "external_ids": [{"namespace": NAMESPACE, "value": review.external_id}],
        }
        self._write_claim(number, review, claim, content)

    def _source_id(self, source: Source) -> str | None:
        """Give the id of a source that is there; raise a problem if it can't be used."""
        record = self._known.sources.get(source.external_id)
        return record and _usable(record, RecordType.SOURCE, source.path)

    def _article_id(self, article: Article) -> str | None:
        """Give the id of an article that is there; raise a problem if it can't be used.

        One that somebody else has recorded is found by its address.
        """
        if record := self._known.articles.get(article.external_id):
            return _usable(record, RecordType.ARTICLE, article.path)
        record = self._known.by_url.get(article.url or "")
        return record and record.id

    # --- lines -------------------------------------------------------------------------------

    def _add(
        self, number: int, record_type: RecordType, given: Source | Article, record: Json
    ) -> Record:
        """Add the line of a new source or article."""
        identity = new_id()
        named = {"external_ids": [{"namespace": NAMESPACE, "value": given.external_id}]}
        line = {"type": record_type, "id": identity, "data": record | named}
        self._lines.append(PlannedLine(number, given.path, 0, encoded(line)))
        return Record(identity, 1, is_deleted=False, is_seen=True)

    def _write_claim(self, number: int, review: Review, claim: Claim, content: Json) -> None:
        """Add the line that writes a claim, if nobody else has written it meanwhile."""
        line = {"type": RecordType.CLAIM, "id": claim.id, "data": content}
        if claim.version:
            line["if_match"] = f'"v{claim.version}"'
        self._lines.append(PlannedLine(number, review.path, claim.writes, encoded(line)))
        claim.content = content
        claim.version += 1
        claim.writes += 1


def make_plan(run: ImportRun, reviews: Iterable[NumberedReview], known: Known) -> Plan:
    """Plan what reviews write."""
    plan = Plan(run, known)
    for number, review in reviews:
        plan.add(number, review)
    return plan


def _first(given: Iterable[Named]) -> list[Named]:
    """Leave out those whose external id an earlier one has."""
    firsts: dict[str, Named] = {}
    for each in given:
        firsts.setdefault(each.external_id, each)
    return list(firsts.values())


def _unchanged(number: int, claim: Claim) -> Done:
    result = ImportResult(
        line=number, status=200, type=RecordType.CLAIM, id=claim.id, version=claim.version
    )
    return Done("unchanged", result)


def _usable(record: Record, record_type: RecordType, path: Path) -> str:
    """Give the id of a record that the caller sees and that is not deleted."""
    if not record.is_seen:
        raise _placed(path, _hidden(record_type))
    if record.is_deleted:
        raise _placed(path, _deleted(record_type, record.id, record.version))
    return record.id


def _hidden(record_type: RecordType) -> Problem:
    detail = f"A {record_type} that your key does not see has the external id of this one."
    return Problem(NOT_UNIQUE, detail, errors=[{"code": "not-unique", "detail": detail}])


def _deleted(record_type: RecordType, identity: str, version: int) -> Problem:
    detail = (
        f"The {record_type} {identity}, which has the external id of this one, was deleted. "
        "Restore it first."
    )
    error = {"code": "unknown-reference", "detail": detail}
    return Problem(GONE, detail, errors=[error], version=version)


def _placed(path: Path, problem: Problem) -> Problem:
    """Say at which place of the document a record is."""
    problem.errors = [{**error, "pointer": pointer(path)} for error in problem.errors]
    return problem
