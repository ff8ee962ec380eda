"""Denials: their filters and their operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from litestar import Controller, delete, get, patch, post, put

from api.core import history, querying, reading
from api.core.appearances import printed, reading_order
from api.core.figures import BY_METRIC, quantified
from api.core.filters import Among, Filter, Parameter, condition, language, term
from api.core.relations import attributed, forward, grouped_by_chain, linked, stated
from api.core.request import Answer, NoContent, Request
from api.core.resource import Resource, Sort
from api.core.responded import answered, grouped_by_response
from api.core.writing import operations
from api.exchange.lists import list_records
from api.exchange.records import get_record
from schemas.denials import Denial, DenialCreate, DenialUpdate
from schemas.scalars import ArticleId, ClaimId, DenialId, SourceId
from schemas.vocabularies import (
    FAMILY_OF,
    Coverage,
    DenialFamily,
    DenialKind,
    DenialValidity,
    ObservedBy,
    RecordType,
    ReviewStatus,
)

_DENIAL = RecordType.DENIAL

_TARGETS: Final = {
    "claim_id": "l.claim_id = :claim_id::uuid",
    "denial_id": "l.denial_id = :denial_id::uuid",
    "target_article_id": "l.article_id = :target_article_id::uuid",
}
"""What is asked of a target that is a record."""


def _aimed(given: Mapping[str, Any]) -> str | Among:
    """Write that one target is all that is asked; one that is only a text makes no link."""
    in_words = given.get("text_target")
    named = [asked for name, asked in _TARGETS.items() if name in given]
    if in_words and named:
        return "false"
    links = """
    SELECT l.owner_id FROM links AS l WHERE l.owner_type = 'denial' AND l.link = 'target'"""
    links += "".join(f" AND {asked}" for asked in named)
    texts = """
    SELECT d.id FROM denials AS d
    WHERE text_coverages(d.targets) IS NOT NULL AND d.deleted_at IS NULL AND :sees(denial, d)"""
    if "coverage" in given:
        links += " AND l.label = :coverage::text"
        texts += " AND text_coverages(d.targets) @> ARRAY[:coverage::text]"
    asked = (*(() if in_words else (links,)), *(() if in_words is False or named else (texts,)))
    return Among(" UNION ALL ".join(asked))


DENIALS = Resource(
    type=_DENIAL,
    create=DenialCreate,
    record=Denial,
    update=DenialUpdate,
    filters=(
        Filter(
            (
                Parameter("claim_id", ClaimId, "The claim that it answers."),
                Parameter("denial_id", DenialId, "The denial that it answers."),
                Parameter("target_article_id", ArticleId, "The article that it answers."),
                Parameter(
                    "text_target",
                    bool,
                    "`true`: the denial answers something that is only described in words. "
                    "`false`: it answers a record.",
                ),
                Parameter(
                    "coverage",
                    Coverage,
                    "How clear it is that the denial is aimed at that target or, if you "
                    "name no target, at any of its targets.",
                ),
            ),
            _aimed,
            element="target",
        ),
        *attributed(_DENIAL, "responder"),
        printed(_DENIAL),
        quantified(_DENIAL),
        *answered(_DENIAL),
        condition(
            "scope_source_id",
            SourceId,
            linked(_DENIAL, "scope", RecordType.SOURCE, "scope_source_id"),
            "The statement that does not mention the claim.",
        ),
        *term("kind", DenialKind, "The kind"),
        *term("family", DenialFamily, "The family"),
        *term("observed_by", ObservedBy, "The observer"),
        *term("validity", DenialValidity, "The validity"),
        *term("review_status", ReviewStatus, "The review status"),
        *language(),
        *stated(),
    ),
    sorts=(Sort("stated", "t.stated_from", nullable=True), reading_order(_DENIAL)),
    expansions=(
        forward("sources", RecordType.SOURCE, "the sources in the chain, and the scope"),
        forward("articles", RecordType.ARTICLE, "the articles in which it is printed"),
        forward("claims", RecordType.CLAIM, "the claims that it answers"),
        forward("denials", _DENIAL, "the denials that it answers, or that replace it"),
    ),
    groupings=(
        *grouped_by_chain("responder"),
        BY_METRIC,
        grouped_by_response(_DENIAL),
    ),
    searched="`text` and `note`",
    derive=lambda denial: {"family": FAMILY_OF[denial.kind]},
    circular=True,
)


class DenialController(Controller):
    """The operations on denials; each does the same for every record type."""

    path = DENIALS.path
    opt = {"resource": DENIALS}  # noqa: RUF012 - as Litestar declares it

    @get(operation_id="listDenials")
    async def list_denials(self, request: Request) -> Answer:
        """List denials."""
        return await list_records(DENIALS, request)

    @post(operation_id="createDenial")
    async def create_denial(self, request: Request) -> Answer:
        """Create a denial."""
        return await operations.create(DENIALS, request)

    @post("/query", operation_id="queryDenials", status_code=200, opt={"reads": (_DENIAL,)})
    async def query_denials(self, request: Request) -> Answer:
        """List denials by a query in the body."""
        return await querying.query(DENIALS, request)

    @get("/by-external-id", operation_id="getDenialByExternalId")
    async def get_denial_by_external_id(self, request: Request) -> Answer:
        """Get a denial by its external id."""
        return await reading.get_by_external_id(DENIALS, request)

    @put("/by-external-id", operation_id="upsertDenialByExternalId")
    async def upsert_denial_by_external_id(self, request: Request) -> Answer:
        """Create or replace a denial by its external id."""
        return await operations.upsert(DENIALS, request)

    @get("/{id:str}", operation_id="getDenial")
    async def get_denial(self, request: Request) -> Answer:
        """Get a denial."""
        return await get_record(DENIALS, request)

    @put("/{id:str}", operation_id="replaceDenial")
    async def replace_denial(self, request: Request) -> Answer:
        """Replace a denial, or create it under an id that you choose."""
        return await operations.replace(DENIALS, request)

    @patch("/{id:str}", operation_id="updateDenial")
    async def update_denial(self, request: Request) -> Answer:
        """Change some properties of a denial."""
        return await operations.update(DENIALS, request)

    @delete("/{id:str}", operation_id="deleteDenial")
    async def delete_denial(self, request: Request) -> NoContent:
        """Delete a denial."""
        return await operations.delete(DENIALS, request)

    @post("/{id:str}/restore", operation_id="restoreDenial", status_code=200)
    async def restore_denial(self, request: Request) -> Answer:
        """Bring back a deleted denial."""
        return await operations.restore(DENIALS, request)

    @get("/{id:str}/revisions", operation_id="listDenialRevisions")
    async def list_denial_revisions(self, request: Request) -> Answer:
        """List the revisions of a denial."""
        return await history.list_revisions(DENIALS, request)

    @get("/{id:str}/revisions/{version:str}", operation_id="getDenialRevision")
    async def get_denial_revision(self, request: Request) -> Answer:
        """Get one revision of a denial."""
        return await history.get_revision(DENIALS, request)
