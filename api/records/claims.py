"""Claims: what can be asked of them and done to them."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, delete, get, patch, post, put
from msgspec import Meta

from api.core import resource
from api.core.filters import Filter, Parameter, condition, language, reference, term, times
from api.core.relations import attributed, backward, forward, linked, related, stated
from api.core.request import Answer, NoContent, Request
from api.core.resource import Resource, Sort
from api.core.writing import writing
from schemas.base import ClaimId, Number, SourceId
from schemas.claims import Claim, ClaimCreate, ClaimUpdate
from schemas.vocabularies import (
    Anchor,
    Certainty,
    ClaimKind,
    Coverage,
    DenialFamily,
    DenialKind,
    Embedding,
    PartyRole,
    Polarity,
    RecordType,
    RelationKind,
    ReviewStatus,
    SpeechAct,
    Validity,
)

_CLAIM = RecordType.CLAIM
_METRIC = Annotated[
    str, Meta(min_length=1, max_length=500, extra_json_schema={"x-vocabulary": "metric"})
]

# A figure of this metric whose range meets the one asked for; vague figures have no range.
_FIGURE = """t.id IN (
    SELECT f.claim_id FROM figures AS f
    WHERE f.metric = :metric::text
        AND (:quantity_to::float8 IS NULL OR f.lower < :quantity_to
             OR (f.lower = :quantity_to AND NOT f.lower_open))
        AND (:quantity_from::float8 IS NULL OR f.upper > :quantity_from
             OR (f.upper = :quantity_from AND NOT f.upper_open)))"""

_RESPONSE = """t.id IN (
    SELECT l.claim_id FROM links AS l
    JOIN denials AS d ON d.id = l.owner_id AND :sees(denial, d)
    WHERE l.owner_type = 'denial' AND l.link = 'target' AND d.validity = 'standing'
        AND (:response_family::text IS NULL OR d.family = :response_family)
        AND (:response_kind::text IS NULL OR d.kind = :response_kind)
        AND (:response_coverage::text IS NULL OR l.label = :response_coverage))"""

_NO_RESPONSE = """NOT EXISTS (
    SELECT FROM links AS l
    JOIN denials AS d ON d.id = l.owner_id AND :sees(denial, d)
    WHERE l.claim_id = t.id AND l.owner_type = 'denial' AND l.link = 'target'
        AND d.validity = 'standing' AND d.family = :without_response_family::text)"""

_SOURCED = """EXISTS (
    SELECT FROM links AS l
    WHERE l.owner_id = t.id AND l.owner_type = 'claim' AND l.link = 'attribution')"""

CLAIMS = Resource(
    type=_CLAIM,
    create=ClaimCreate,
    record=Claim,
    update=ClaimUpdate,
    filters=(
        *attributed(_CLAIM, "claimant"),
        condition(
            "origin_id",
            SourceId,
            linked(_CLAIM, "attribution", RecordType.SOURCE, "origin_id", " AND l.is_origin"),
            "The origin: the source at the highest position.",
        ),
        condition(
            "via_id",
            SourceId,
            linked(_CLAIM, "via", RecordType.SOURCE, "via_id"),
            "The vehicle: a briefing, a statement, a platform.",
        ),
        Filter(
            (
                Parameter("party_id", SourceId, "Somebody whom the claim is about."),
                Parameter("party_role", PartyRole, "The part that they play."),
            ),
            linked(
                _CLAIM,
                "party",
                RecordType.SOURCE,
                "party_id",
                " AND (:party_role::text IS NULL OR l.label = :party_role)",
            ),
            needs="party_id",
        ),
        Filter(
            (
                Parameter("related_to", ClaimId, "A claim that it is related to, from either end."),
                Parameter("relation_kind", RelationKind, "How it is related."),
            ),
            related(_CLAIM),
            needs="related_to",
        ),
        *reference("parent_claim_id", ClaimId, "The claim that holds it."),
        condition(
            "attributed",
            bool,
            f"{_SOURCED} = :attributed::boolean",
            "`false`: no source is known at any hop. `true`: some source is.",
        ),
        Filter(
            (
                Parameter("metric", _METRIC, "Has a figure of this metric."),
                Parameter(
                    "quantity_from",
                    Number,
                    "Of which this or more is possible: its range goes that far.",
                ),
                Parameter(
                    "quantity_to",
                    Number,
                    "Of which this or less is possible: its range begins there.",
                ),
            ),
            _FIGURE,
            needs="metric",
        ),
        Filter(
            (
                Parameter(
                    "response_family", DenialFamily, "Has a standing response of this family."
                ),
                Parameter("response_kind", DenialKind, "Has a standing response of this kind."),
                Parameter("response_coverage", Coverage, "Whose coverage of the claim is this."),
            ),
            _RESPONSE,
        ),
        condition(
            "without_response_family",
            DenialFamily,
            _NO_RESPONSE,
            "Has no standing response of this family.",
        ),
        condition(
            "anchor",
            Anchor,
            "t.id IN (SELECT l.owner_id FROM links AS l WHERE l.owner_type = 'claim'"
            " AND l.link = 'appearance' AND l.label = :anchor::text)",
            "Has an appearance whose spans hold to the text like this.",
        ),
        *term("kind", ClaimKind, "The kind", nullable=True),
        *term("speech_act", SpeechAct, "The speech act", nullable=True),
        *term("certainty", Certainty, "The certainty"),
        *term("polarity", Polarity, "The polarity"),
        *term("embedding", Embedding, "The embedding"),
        *term("validity", Validity, "The validity"),
        *term("review_status", ReviewStatus, "The review status"),
        *language(),
        *stated(),
        *times("occurred", "When it happened", "t.occurred_from", "t.occurred_until"),
    ),
    sorts=(Sort("stated", "t.stated_from", nullable=True),),
    expansions=(
        forward("sources", _CLAIM, RecordType.SOURCE, "those in the chain, and the parties"),
        forward("articles", _CLAIM, RecordType.ARTICLE, "where it is printed"),
        forward("claims", _CLAIM, _CLAIM, "those it relates to, and its parent"),
        backward("denials", RecordType.DENIAL, "target", _CLAIM, "the responses to it"),
    ),
    searched="`text` and `note`",
)


class ClaimController(Controller):
    """The operations on claims; what they do is the same for every resource."""

    path = CLAIMS.path
    opt = {"resource": CLAIMS}  # noqa: RUF012 - as Litestar declares it

    @get(operation_id="listClaims")
    async def list_claims(self, request: Request) -> Answer:
        """List claims."""
        return await resource.list_page(CLAIMS, request)

    @post(operation_id="createClaim")
    async def create_claim(self, request: Request) -> Answer:
        """Create a claim."""
        return await writing.create(CLAIMS, request)

    @get("/by-external-id", operation_id="getClaimByExternalId")
    async def get_claim_by_external_id(self, request: Request) -> Answer:
        """Get a claim by its external id."""
        return await resource.get_by_external_id(CLAIMS, request)

    @put("/by-external-id", operation_id="upsertClaimByExternalId")
    async def upsert_claim_by_external_id(self, request: Request) -> Answer:
        """Create or replace a claim by its external id."""
        return await writing.upsert(CLAIMS, request)

    @get("/{id:str}", operation_id="getClaim")
    async def get_claim(self, request: Request) -> Answer:
        """Get a claim."""
        return await resource.get(CLAIMS, request)

    @put("/{id:str}", operation_id="replaceClaim")
    async def replace_claim(self, request: Request) -> Answer:
        """Replace a claim, or create it under an id of one's own."""
        return await writing.replace(CLAIMS, request)

    @patch("/{id:str}", operation_id="updateClaim")
    async def update_claim(self, request: Request) -> Answer:
        """Change some of a claim."""
        return await writing.update(CLAIMS, request)

    @delete("/{id:str}", operation_id="deleteClaim")
    async def delete_claim(self, request: Request) -> NoContent:
        """Delete a claim."""
        return await writing.delete(CLAIMS, request)

    @post("/{id:str}/restore", operation_id="restoreClaim", status_code=200)
    async def restore_claim(self, request: Request) -> Answer:
        """Bring back a deleted claim."""
        return await writing.restore(CLAIMS, request)

    @get("/{id:str}/revisions", operation_id="listClaimRevisions")
    async def list_claim_revisions(self, request: Request) -> Answer:
        """List the revisions of a claim."""
        return await resource.list_revisions(CLAIMS, request)

    @get("/{id:str}/revisions/{version:str}", operation_id="getClaimRevision")
    async def get_claim_revision(self, request: Request) -> Answer:
        """Get one revision of a claim."""
        return await resource.get_revision(CLAIMS, request)
