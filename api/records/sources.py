"""Sources: their filters and their operations."""

from __future__ import annotations

from litestar import Controller, delete, get, patch, post, put

from api.core import history, querying, reading
from api.core.filters import Words, condition, term
from api.core.relations import backward, forward, linked, related
from api.core.request import Answer, NoContent, Request
from api.core.resource import Resource, Sort
from api.core.writing import operations
from api.exchange.lists import list_records
from api.exchange.records import get_record
from schemas.scalars import Country, SourceId
from schemas.sources import Source, SourceCreate, SourceUpdate
from schemas.vocabularies import (
    Confidentiality,
    Identification,
    RecordType,
    SourceKind,
    SourceRelationKind,
)

_SOURCE = RecordType.SOURCE

# 1114111 is the last code point: every name that starts with the words comes before it.
_STARTS = """t.id IN (
    SELECT n.source_id FROM source_names AS n
    WHERE n.name ~>=~ fold(:name__startswith::text)
        AND n.name ~<~ (fold(:name__startswith::text) || chr(1114111)))"""

# A name without any letter or digit has no words, and is found as a whole.
_NAMED = """t.id IN (
    SELECT n.source_id FROM source_names AS n
    WHERE to_tsvector('claim_records', search_text(n.name))
        @@ plainto_tsquery('claim_records', search_text(fold(:name::text)))
    UNION ALL
    SELECT n.source_id FROM source_names AS n WHERE n.name = fold(:name::text))"""

SOURCES = Resource(
    type=_SOURCE,
    create=SourceCreate,
    record=Source,
    update=SourceUpdate,
    filters=(
        *term("kind", SourceKind, "The kind"),
        *term("identification", Identification, "The identification"),
        *term("confidentiality", Confidentiality, "The confidentiality"),
        condition(
            "country_code",
            Country,
            "t.country_code = :country_code::text",
            "The country of the source.",
        ),
        condition(
            "parent_id",
            SourceId,
            linked(_SOURCE, "parent", _SOURCE, "parent_id"),
            "The source that it is part of.",
        ),
        condition(
            "member_id",
            SourceId,
            linked(_SOURCE, "member", _SOURCE, "member_id"),
            "A direct member of the source.",
        ),
        related(_SOURCE, SourceId, SourceRelationKind),
        condition(
            "name",
            Words,
            _NAMED,
            "Words of one of its names, in any order. Accents, case and punctuation are ignored.",
        ),
        condition(
            "name__startswith",
            Words,
            _STARTS,
            "The start of any of its names. Accents and case are ignored.",
        ),
    ),
    sorts=(Sort("name", "t.name", nullable=True, key=str),),
    expansions=(
        forward("sources", _SOURCE, "its parent, members and organisations"),
        backward("groups", _SOURCE, "member", _SOURCE, "the groups of which it is a direct member"),
    ),
    searched="`name`, `names` and `description`",
    derive=lambda _: {"merged_into_id": None},
    circular=True,
    merges=True,
)


class SourceController(Controller):
    """The operations on sources; each does the same for every record type."""

    path = SOURCES.path
    opt = {"resource": SOURCES}  # noqa: RUF012 - as Litestar declares it

    @get(operation_id="listSources")
    async def list_sources(self, request: Request) -> Answer:
        """List sources."""
        return await list_records(SOURCES, request)

    @post(operation_id="createSource")
    async def create_source(self, request: Request) -> Answer:
        """Create a source."""
        return await operations.create(SOURCES, request)

    @post("/query", operation_id="querySources", status_code=200, opt={"reads": (_SOURCE,)})
    async def query_sources(self, request: Request) -> Answer:
        """List sources by a query in the body."""
        return await querying.query(SOURCES, request)

    @get("/by-external-id", operation_id="getSourceByExternalId")
    async def get_source_by_external_id(self, request: Request) -> Answer:
        """Get a source by its external id."""
        return await reading.get_by_external_id(SOURCES, request)

    @put("/by-external-id", operation_id="upsertSourceByExternalId")
    async def upsert_source_by_external_id(self, request: Request) -> Answer:
        """Create or replace a source by its external id."""
        return await operations.upsert(SOURCES, request)

    @get("/{id:str}", operation_id="getSource")
    async def get_source(self, request: Request) -> Answer:
        """Get a source."""
        return await get_record(SOURCES, request)

    @put("/{id:str}", operation_id="replaceSource")
    async def replace_source(self, request: Request) -> Answer:
        """Replace a source, or create it under an id that you choose."""
        return await operations.replace(SOURCES, request)

    @patch("/{id:str}", operation_id="updateSource")
    async def update_source(self, request: Request) -> Answer:
        """Change some properties of a source."""
        return await operations.update(SOURCES, request)

    @delete("/{id:str}", operation_id="deleteSource")
    async def delete_source(self, request: Request) -> NoContent:
        """Delete a source."""
        return await operations.delete(SOURCES, request)

    @post("/{id:str}/restore", operation_id="restoreSource", status_code=200)
    async def restore_source(self, request: Request) -> Answer:
        """Bring back a deleted source."""
        return await operations.restore(SOURCES, request)

    @get("/{id:str}/revisions", operation_id="listSourceRevisions")
    async def list_source_revisions(self, request: Request) -> Answer:
        """List the revisions of a source."""
        return await history.list_revisions(SOURCES, request)

    @get("/{id:str}/revisions/{version:str}", operation_id="getSourceRevision")
    async def get_source_revision(self, request: Request) -> Answer:
        """Get one revision of a source."""
        return await history.get_revision(SOURCES, request)
