# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "asyncpg==0.32.0", "fastapi==0.163.2", "httptools==0.9.0", "sqlalchemy[asyncio]==2.1.9",
#   "uvicorn==0.54.0", "uvloop==0.23.0",
# ]
# ///
"""FastAPI with SQLAlchemy on asyncpg: an ORM class, a session a request, a response model."""

import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

import claim
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, relationship, selectinload
from table import ArticleColumns, ClaimColumns, SourceColumns, links

url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
engine = create_async_engine(url, pool_size=int(os.environ["POOL"]), max_overflow=0)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    """The base of the ORM's classes."""


class Article(ArticleColumns, Base):
    """An article."""


class Source(SourceColumns, Base):
    """A source."""


class Claim(ClaimColumns, Base):
    """A claim."""

    articles: Mapped[list[Article]] = relationship(
        secondary=links(Base.metadata, "article"), lazy="raise", viewonly=True
    )
    sources: Mapped[list[Source]] = relationship(
        secondary=links(Base.metadata, "source"), lazy="raise", viewonly=True
    )


class PlainClaim(ClaimColumns, Base):
    """A claim of the table without triggers."""

    __table_args__ = {"schema": "plain"}  # noqa: RUF012 - as SQLAlchemy declares it


async def session() -> AsyncIterator[AsyncSession]:
    """Open a session for a request."""
    async with sessions() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


@app.get("/claims/{identity}", response_model=claim.Claim)
async def get_claim(identity: UUID, opened: Session) -> Claim:
    """Get a claim."""
    found = await opened.get(Claim, identity)
    if found is None:
        raise HTTPException(404)
    return found


@app.get("/claims", response_model=list[claim.Claim])
async def list_claims(opened: Session, limit: int = 50) -> list[Claim]:
    """List the newest claims."""
    newest = select(Claim).order_by(Claim.created_at.desc(), Claim.id.desc()).limit(limit)
    return list(await opened.scalars(newest))


@app.get("/expanded", response_model=list[claim.ExpandedClaim])
async def list_expanded(opened: Session, limit: int = 50) -> list[Claim]:
    """List them with their articles and sources."""
    newest = select(Claim).order_by(Claim.created_at.desc(), Claim.id.desc()).limit(limit)
    related = (selectinload(Claim.articles), selectinload(Claim.sources))
    return list(await opened.scalars(newest.options(*related)))


@app.post("/claims", status_code=201, response_model=claim.Claim)
async def create_claim(body: claim.NewClaim, opened: Session) -> Claim:
    """Create a claim."""
    created = Claim(**body.model_dump())
    opened.add(created)
    await opened.commit()
    await opened.refresh(created)
    return created


@app.patch("/claims/{identity}", response_model=claim.Claim)
async def patch_claim(
    identity: UUID, body: claim.ClaimPatch, if_match: Annotated[str, Header()], opened: Session
) -> Claim:
    """Change what is given of a claim, if its version is still the same."""
    found = await opened.get(Claim, identity, with_for_update=True)
    if found is None or found.version != int(if_match.strip('"')):
        raise HTTPException(412)
    for name, value in body.model_dump(exclude_unset=True).items():
        setattr(found, name, value)
    await opened.commit()
    await opened.refresh(found)
    return found


@app.post("/imports", status_code=201)
async def import_claims(body: list[claim.NewClaim], opened: Session) -> dict[str, int]:
    """Write plain rows, all or none."""
    await opened.execute(insert(PlainClaim), [each.model_dump() for each in body])
    await opened.commit()
    return {"created": len(body)}


@app.get("/changes", response_model=list[claim.Claim])
async def list_changes(opened: Session, since: datetime, limit: int) -> list[Claim]:
    """List the claims that were changed behind a time, the earliest first."""
    changed = (
        select(Claim)
        .where(Claim.updated_at > since)
        .order_by(Claim.updated_at, Claim.id)
        .limit(limit)
    )
    return list(await opened.scalars(changed))


uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
