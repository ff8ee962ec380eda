"""Articles: their filters and their operations."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import msgspec
from litestar import Controller, delete, get, patch, post, put

from api.core import history, querying, reading
from api.core.filters import Parameter, condition, language, term, times
from api.core.relations import backward, forward, linked_as, means, related
from api.core.request import Answer, NoContent, Request
from api.core.resource import Grouping, Resource, Sort
from api.core.writing import operations
from api.exchange.lists import list_records
from api.exchange.records import get_record
from api.records.reanchoring import REANCHORING
from schemas.articles import Article, ArticleCreate, ArticleUpdate
from schemas.base import Create
from schemas.scalars import ArticleId, SourceId, Url
from schemas.vocabularies import (
    ArticleKind,
    ArticleRelationKind,
    ArticleStatus,
    CreditRole,
    RecordType,
)

_ARTICLE = RecordType.ARTICLE

# No set of which one article could be asked whether it is in it: that reads all that it prints.
_SAID_IN_IT = """t.id = ANY(ARRAY(
    SELECT DISTINCT a.article_id FROM links AS s
    JOIN links AS a ON a.owner_id = s.owner_id AND a.owner_type = s.owner_type
    WHERE s.source_id = ANY((SELECT same_sources(:source_id::uuid))::uuid[])
        AND s.owner_type IN ('claim', 'denial')
        AND s.link IN ('attribution', 'via', 'audience') AND a.link = 'appearance'
        AND CASE s.owner_type
            WHEN 'claim' THEN EXISTS (
                SELECT FROM claims AS c WHERE c.id = s.owner_id AND :sees(claim, c)
            )
            ELSE EXISTS (
                SELECT FROM denials AS d WHERE d.id = s.owner_id AND :sees(denial, d) OFFSET 0
            )
        END))"""


def _measures(article: ArticleCreate) -> dict[str, Any]:
    derived = article.headline is None
    if article.text is None:
        return {"text_sha256": None, "text_length": None, "headline_derived": derived}
    digest = hashlib.sha256(article.text.encode()).hexdigest()
    length = len(article.text)
    return {"text_sha256": digest, "text_length": length, "headline_derived": derived}


class _Seen(msgspec.Struct):
    """What decides who sees an article, and with it the records that are printed in it."""

    status: ArticleStatus
    embargoed_until: datetime | None


def _changes_who_sees(doc: bytes, article: Create) -> bool:
    """Tell whether a stored article and the new one may be seen by others."""
    new = msgspec.convert(article, _Seen, from_attributes=True)
    return msgspec.json.decode(doc, type=_Seen) != new


ARTICLES = Resource(
    type=_ARTICLE,
    create=ArticleCreate,
    record=Article,
    update=ArticleUpdate,
    filters=(
        condition(
            "publisher_id",
            SourceId,
            f"t.publisher_id {means(RecordType.SOURCE, 'publisher_id')}",
            "The publisher.",
        ),
        condition("url", Url, "t.url = :url::text", "The URL of the article."),
        *term("kind", ArticleKind, "The kind"),
        *term("status", ArticleStatus, "The status"),
        *language(),
        *times("published", "The publication", "t.published_from", "t.published_until"),
        related(_ARTICLE, ArticleId, ArticleRelationKind),
        linked_as(
            _ARTICLE,
            "credit",
            Parameter("credit_id", SourceId, "A source that it credits for the whole piece."),
            Parameter("credit_role", CreditRole, "The role for which that source is credited."),
        ),
        condition(
            "source_id",
            SourceId,
            _SAID_IN_IT,
            "A source in the chain of a claim or a denial that is printed in it.",
        ),
    ),
    sorts=(Sort("published", "t.published_from", nullable=True),),
    expansions=(
        forward("sources", RecordType.SOURCE, "its publisher, authors and credits"),
        forward("articles", _ARTICLE, "the articles that it relates to"),
        backward("claims", RecordType.CLAIM, "appearance", _ARTICLE, "the claims printed in it"),
        backward("denials", RecordType.DENIAL, "appearance", _ARTICLE, "the denials printed in it"),
    ),
    groupings=(
        Grouping(
            "publisher_id",
            "the publisher",
            "SELECT m.id, m.publisher_id AS value FROM {matched} AS m"
            " WHERE m.publisher_id IS NOT NULL",
            columns=("publisher_id",),
            names=RecordType.SOURCE,
        ),
    ),
    searched="`headline`, `dateline`, `section` and the first 100,000 characters of `text`",
    large=True,
    consequence=REANCHORING._replace(hides=_changes_who_sees),
    derive=_measures,
)


class ArticleController(Controller):
    """The operations on articles; each does the same for every record type."""

    path = ARTICLES.path
    opt = {"resource": ARTICLES}  # noqa: RUF012 - as Litestar declares it

    @get(operation_id="listArticles")
    async def list_articles(self, request: Request) -> Answer:
        """List articles."""
        return await list_records(ARTICLES, request)

    @post(operation_id="createArticle")
    async def create_article(self, request: Request) -> Answer:
        """Create an article."""
        return await operations.create(ARTICLES, request)

    @post("/query", operation_id="queryArticles", status_code=200, opt={"reads": (_ARTICLE,)})
    async def query_articles(self, request: Request) -> Answer:
        """List articles by a query in the body."""
        return await querying.query(ARTICLES, request)

    @get("/by-external-id", operation_id="getArticleByExternalId")
    async def get_article_by_external_id(self, request: Request) -> Answer:
        """Get an article by its external id."""
        return await reading.get_by_external_id(ARTICLES, request)

    @put("/by-external-id", operation_id="upsertArticleByExternalId")
    async def upsert_article_by_external_id(self, request: Request) -> Answer:
        """Create or replace an article by its external id."""
        return await operations.upsert(ARTICLES, request)

    @get("/{id:str}", operation_id="getArticle")
    async def get_article(self, request: Request) -> Answer:
        """Get an article."""
        return await get_record(ARTICLES, request)

    @put("/{id:str}", operation_id="replaceArticle")
    async def replace_article(self, request: Request) -> Answer:
        """Replace an article, or create it under an id that you choose."""
        return await operations.replace(ARTICLES, request)

    @patch("/{id:str}", operation_id="updateArticle")
    async def update_article(self, request: Request) -> Answer:
        """Change some properties of an article."""
        return await operations.update(ARTICLES, request)

    @delete("/{id:str}", operation_id="deleteArticle")
    async def delete_article(self, request: Request) -> NoContent:
        """Delete an article."""
        return await operations.delete(ARTICLES, request)

    @post("/{id:str}/restore", operation_id="restoreArticle", status_code=200)
    async def restore_article(self, request: Request) -> Answer:
        """Bring back a deleted article."""
        return await operations.restore(ARTICLES, request)

    @get("/{id:str}/revisions", operation_id="listArticleRevisions")
    async def list_article_revisions(self, request: Request) -> Answer:
        """List the revisions of an article."""
        return await history.list_revisions(ARTICLES, request)

    @get("/{id:str}/revisions/{version:str}", operation_id="getArticleRevision")
    async def get_article_revision(self, request: Request) -> Answer:
        """Get one revision of an article."""
        return await history.get_revision(ARTICLES, request)
