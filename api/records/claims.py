"""Claims: their filters and their operations."""

from __future__ import annotations

from typing import Final

from litestar import Controller, delete, get, patch, post, put

from api.core import history, querying, reading
from api.core.appearances import printed, reading_order
from api.core.figures import BY_METRIC, quantified
from api.core.filters import Parameter, condition, language, term, times
from api.core.relations import (
    attributed,
    backward,
    forward,
    grouped_by_chain,
    linked,
    linked_as,
    related,
    stated,
)
from api.core.request import Answer, NoContent, Request
from api.core.resource import Expansion, Grouping, Resource, Sort
from api.core.responded import answered, grouped_by_response
from api.core.writing import operations
from api.exchange.lists import list_records
from api.exchange.records import get_record
from api.records.claim_parts import assessed, located
from schemas.claims import Claim, ClaimCreate, ClaimUpdate
from schemas.scalars import ClaimId, SourceId
from schemas.vocabularies import (
    Certainty,
    ClaimKind,
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
_RELATING: Final = """
    SELECT l.owner_id AS id, o.place FROM owners AS o
    JOIN links AS l ON l.claim_id = o.id
    WHERE l.owner_type = 'claim' AND l.link IN ('relation', 'parent')"""

CLAIMS = Resource(
    type=_CLAIM,
    create=ClaimCreate,
    record=Claim,
    update=ClaimUpdate,
    filters=(
        *attributed(_CLAIM, "claimant"),
        printed(_CLAIM),
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
            "The vehicle, such as a briefing, a statement or a platform.",
        ),
        linked_as(
            _CLAIM,
            "party",
            Parameter("party_id", SourceId, "A party that the claim is about."),
            Parameter("party_role", PartyRole, "The role of that party."),
        ),
        related(_CLAIM, ClaimId, RelationKind),
        condition(
            "parent_claim_id",
            ClaimId,
            linked(_CLAIM, "parent", _CLAIM, "parent_claim_id"),
            "The claim that it is part of.",
        ),
        condition(
            "attributed",
            bool,
            "has_source(t.attributions) = :attributed::boolean",
            "`true`: the chain has a source. `false`: it has none.",
        ),
        quantified(_CLAIM),
        *answered(_CLAIM),
        located(),
        assessed(),
        *term("kind", ClaimKind, "The kind", nullable=True),
        *term("speech_act", SpeechAct, "The speech act", nullable=True),
        *term("certainty", Certainty, "The certainty"),
        *term("polarity", Polarity, "The polarity"),
        *term("embedding", Embedding, "The embedding"),
        *term("validity", Validity, "The validity"),
        *term("review_status", ReviewStatus, "The review status"),
        *language(),
        *stated(),
        *times("occurred", "The time at which it happened", "t.occurred_from", "t.occurred_until"),
    ),
    sorts=(Sort("stated", "t.stated_from", nullable=True), reading_order(_CLAIM)),
    expansions=(
        forward("sources", RecordType.SOURCE, "the sources in the chain, and the parties"),
        forward("articles", RecordType.ARTICLE, "the articles in which it is printed"),
        forward("claims", _CLAIM, "the claims that it relates to, and its parent"),
        backward("denials", RecordType.DENIAL, "target", _CLAIM, "the responses to it"),
        Expansion(
            "relating_claims", _CLAIM, _RELATING, "the claims that relate to it, and its parts"
        ),
    ),
    groupings=(
        *grouped_by_chain("claimant"),
        BY_METRIC,
        grouped_by_response(_CLAIM),
        Grouping(
            "place_country_code",
            "the country of a place",
            "SELECT DISTINCT m.id, p.country_code AS value FROM {matched} AS m"
            " CROSS JOIN LATERAL json_to_recordset(m.places) AS p(country_code text)"
            " WHERE p.country_code IS NOT NULL",
            columns=("places",),
        ),
    ),
    searched="`text` and `note`",
    circular=True,
)


class ClaimController(Controller):
    """The operations on claims; each does the same for every record type."""

    path = CLAIMS.path
    opt = {"resource": CLAIMS}  # noqa: RUF012 - as Litestar declares it

    @get(operation_id="listClaims")
    async def list_claims(self, request: Request) -> Answer:
        """List claims."""
        return await list_records(CLAIMS, request)

    @post(operation_id="createClaim")
    async def create_claim(self, request: Request) -> Answer:
        """Create a claim."""
        return await operations.create(CLAIMS, request)

    @post("/query", operation_id="queryClaims", status_code=200, opt={"reads": (_CLAIM,)})
    async def query_claims(self, request: Request) -> Answer:
        """List claims by a query in the body."""
        return await querying.query(CLAIMS, request)

    @get("/by-external-id", operation_id="getClaimByExternalId")
    async def get_claim_by_external_id(self, request: Request) -> Answer:
        """Get a claim by its external id."""
        return await reading.get_by_external_id(CLAIMS, request)

    @put("/by-external-id", operation_id="upsertClaimByExternalId")
    async def upsert_claim_by_external_id(self, request: Request) -> Answer:
        """Create or replace a claim by its external id."""
        return await operations.upsert(CLAIMS, request)

    @get("/{id:str}", operation_id="getClaim")
    async def get_claim(self, request: Request) -> Answer:
        """Get a claim."""
        return await get_record(CLAIMS, request)

    @put("/{id:str}", operation_id="replaceClaim")
    async def replace_claim(self, request: Request) -> Answer:
        """Replace a claim, or create it under an id that you choose."""
        return await operations.replace(CLAIMS, request)

    @patch("/{id:str}", operation_id="updateClaim")
    async def update_claim(self, request: Request) -> Answer:
        """Change some properties of a claim."""
        return await operations.update(CLAIMS, request)

    @delete("/{id:str}", operation_id="deleteClaim")
    async def delete_claim(self, request: Request) -> NoContent:
        """Delete a claim."""
        return await operations.delete(CLAIMS, request)

    @post("/{id:str}/restore", operation_id="restoreClaim", status_code=200)
    async def restore_claim(self, request: Request) -> Answer:
        """Bring back a deleted claim."""
        return await operations.restore(CLAIMS, request)

    @get("/{id:str}/revisions", operation_id="listClaimRevisions")
    async def list_claim_revisions(self, request: Request) -> Answer:
        """List the revisions of a claim."""
        return await history.list_revisions(CLAIMS, request)

    @get("/{id:str}/revisions/{version:str}", operation_id="getClaimRevision")
    async def get_claim_revision(self, request: Request) -> Answer:
        """Get one revision of a claim."""
        return await history.get_revision(CLAIMS, request)
