# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "advanced-alchemy==1.12.0", "asyncpg==0.32.0", "httptools==0.9.0", "litestar==2.25.0",
#   "pydantic==2.14.3", "uvicorn==0.54.0", "uvloop==0.23.0",
# ]
# ///
"""Litestar with advanced-alchemy: its plugin, a repository service, and Pydantic schemas."""

import os
from datetime import datetime
from typing import Annotated
from uuid import UUID

import claim
import uvicorn
from advanced_alchemy.extensions.litestar import (
    AsyncSessionConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyPlugin,
    base,
    filters,
    providers,
    repository,
    service,
)
from litestar import Litestar, get, patch, post
from litestar.exceptions import HTTPException
from litestar.params import Parameter
from sqlalchemy.orm import Mapped, relationship, selectinload
from table import ArticleColumns, ClaimColumns, SourceColumns, links


class Article(ArticleColumns, base.DefaultBase):
    """An article."""


class Source(SourceColumns, base.DefaultBase):
    """A source."""


class Claim(ClaimColumns, base.DefaultBase):
    """A claim."""

    articles: Mapped[list[Article]] = relationship(
        secondary=links(base.DefaultBase.metadata, "article"), lazy="raise", viewonly=True
    )
    sources: Mapped[list[Source]] = relationship(
        secondary=links(base.DefaultBase.metadata, "source"), lazy="raise", viewonly=True
    )


class ClaimService(service.SQLAlchemyAsyncRepositoryService[Claim]):
    """What can be done to claims."""

    class Repo(repository.SQLAlchemyAsyncRepository[Claim]):
        """Where claims are kept."""

        model_type = Claim

    repository_type = Repo


class PlainClaim(ClaimColumns, base.DefaultBase):
    """A claim of the table without triggers."""

    __table_args__ = {"schema": "plain"}  # noqa: RUF012 - as SQLAlchemy declares it


class PlainClaimService(service.SQLAlchemyAsyncRepositoryService[PlainClaim]):
    """What can be done to claims without triggers."""

    class Repo(repository.SQLAlchemyAsyncRepository[PlainClaim]):
        """Where they are kept."""

        model_type = PlainClaim

    repository_type = Repo


@get("/claims/{identity:uuid}")
async def get_claim(claims: ClaimService, identity: UUID) -> claim.Claim:
    """Get a claim."""
    return claims.to_schema(await claims.get(identity), schema_type=claim.Claim)


@get("/claims")
async def list_claims(claims: ClaimService, limit: int = 50) -> list[claim.Claim]:
    """List the newest claims."""
    rows = await claims.list(
        filters.LimitOffset(limit, 0),
        filters.OrderBy("created_at", "desc"),
        filters.OrderBy("id", "desc"),
    )
    return claims.to_schema(rows, schema_type=claim.Claim).items


@get("/expanded")
async def list_expanded(claims: ClaimService, limit: int = 50) -> list[claim.ExpandedClaim]:
    """List them with their articles and sources."""
    rows = await claims.list(
        filters.LimitOffset(limit, 0),
        filters.OrderBy("created_at", "desc"),
        filters.OrderBy("id", "desc"),
        load=[selectinload(Claim.articles), selectinload(Claim.sources)],
    )
    return claims.to_schema(rows, schema_type=claim.ExpandedClaim).items


@post("/claims")
async def create_claim(claims: ClaimService, data: claim.NewClaim) -> claim.Claim:
    """Create a claim."""
    created = await claims.create(data.model_dump(), auto_commit=True)
    return claims.to_schema(created, schema_type=claim.Claim)


@patch("/claims/{identity:uuid}")
async def patch_claim(
    claims: ClaimService,
    identity: UUID,
    data: claim.ClaimPatch,
    if_match: Annotated[str, Parameter(header="If-Match")],
) -> claim.Claim:
    """Change what is given of a claim, if its version is still the same."""
    found = await claims.get(identity)
    if found.version != int(if_match.strip('"')):
        raise HTTPException(status_code=412)
    changed = await claims.update(
        data.model_dump(exclude_unset=True), item_id=identity, auto_commit=True, auto_refresh=True
    )
    return claims.to_schema(changed, schema_type=claim.Claim)


@post("/imports")
async def import_claims(plain: PlainClaimService, data: list[claim.NewClaim]) -> dict[str, int]:
    """Write plain rows, all or none."""
    created = await plain.create_many([each.model_dump() for each in data], auto_commit=True)
    return {"created": len(created)}


@get("/changes")
async def list_changes(claims: ClaimService, since: datetime, limit: int) -> list[claim.Claim]:
    """List the claims that were changed behind a time, the earliest first."""
    rows = await claims.list(
        filters.BeforeAfter("updated_at", before=None, after=since),
        filters.LimitOffset(limit, 0),
        filters.OrderBy("updated_at", "asc"),
        filters.OrderBy("id", "asc"),
    )
    return claims.to_schema(rows, schema_type=claim.Claim).items


alchemy = SQLAlchemyAsyncConfig(
    connection_string=os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"),
    session_config=AsyncSessionConfig(expire_on_commit=False),
    engine_config=EngineConfig(pool_size=int(os.environ["POOL"]), max_overflow=0),
)
app = Litestar(
    [
        get_claim,
        list_claims,
        list_expanded,
        create_claim,
        patch_claim,
        import_claims,
        list_changes,
    ],
    dependencies={
        **providers.create_service_dependencies(ClaimService, "claims"),
        **providers.create_service_dependencies(PlainClaimService, "plain"),
    },
    plugins=[SQLAlchemyPlugin(alchemy)],
)

uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
