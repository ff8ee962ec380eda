# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "asyncpg==0.32.0", "fastapi==0.163.2", "httptools==0.9.0", "uvicorn==0.54.0", "uvloop==0.23.0",
# ]
# ///
"""FastAPI with asyncpg alone: SQL by hand, JSON decoded by a codec, a response model."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import uvicorn
from claim import Claim, ClaimPatch, NewClaim, Page
from fastapi import FastAPI, Header, HTTPException

COLUMNS = list(NewClaim.model_fields)
ROW = (
    f"claims ({', '.join(COLUMNS)})"
    f" VALUES ({', '.join(f'${place}' for place in range(1, len(COLUMNS) + 1))})"
)
CREATE = f"INSERT INTO rest.{ROW} RETURNING *"
IMPORT = f"INSERT INTO plain.{ROW}"
NEWEST = "SELECT * FROM rest.claims ORDER BY created_at DESC, id DESC LIMIT $1"
ARTICLES = """
    SELECT * FROM rest.articles
    WHERE id IN (SELECT article_id FROM rest.claim_articles WHERE claim_id = ANY($1))"""
SOURCES = """
    SELECT * FROM rest.sources
    WHERE id IN (SELECT source_id FROM rest.claim_sources WHERE claim_id = ANY($1))"""


async def read_json(connection: Any) -> None:  # noqa: ANN401 - asyncpg's connection
    """Decode JSON, as the documentation of asyncpg shows."""
    await connection.set_type_codec(
        "json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )


@asynccontextmanager
async def connected(app: FastAPI) -> AsyncIterator[None]:
    """Open the pool."""
    size = int(os.environ["POOL"])
    url = os.environ["DATABASE_URL"]
    async with asyncpg.create_pool(url, min_size=size, max_size=size, init=read_json) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=connected)


@app.get("/claims/{identity}", response_model=Claim)
async def get_claim(identity: UUID) -> Any:  # noqa: ANN401 - FastAPI makes the model of it
    """Get a claim."""
    row = await app.state.pool.fetchrow("SELECT * FROM rest.claims WHERE id = $1", identity)
    if row is None:
        raise HTTPException(404)
    return dict(row)


@app.get("/claims", response_model=list[Claim])
async def list_claims(limit: int = 50) -> Any:  # noqa: ANN401 - as above
    """List the newest claims."""
    return [dict(row) for row in await app.state.pool.fetch(NEWEST, limit)]


@app.get("/expanded", response_model=Page)
async def list_expanded(limit: int = 50) -> Any:  # noqa: ANN401 - as above
    """List them, and each article and source to which they refer once."""
    async with app.state.pool.acquire() as connection:
        rows = await connection.fetch(NEWEST, limit)
        ids = [row["id"] for row in rows]
        articles = await connection.fetch(ARTICLES, ids)
        sources = await connection.fetch(SOURCES, ids)
    return {
        "items": [dict(row) for row in rows],
        "articles": [dict(row) for row in articles],
        "sources": [dict(row) for row in sources],
    }


@app.post("/claims", status_code=201, response_model=Claim)
async def create_claim(body: NewClaim) -> Any:  # noqa: ANN401 - as above
    """Create a claim."""
    values = body.model_dump()
    return dict(await app.state.pool.fetchrow(CREATE, *(values[name] for name in COLUMNS)))


@app.patch("/claims/{identity}", response_model=Claim)
async def patch_claim(identity: UUID, body: ClaimPatch, if_match: Annotated[str, Header()]) -> Any:  # noqa: ANN401 - as above
    """Change what is given of a claim, if its version is still the same."""
    changes = body.model_dump(exclude_unset=True)
    setting = ", ".join(f"{name} = ${place}" for place, name in enumerate(changes, 3))
    row = await app.state.pool.fetchrow(
        f"UPDATE rest.claims SET {setting} WHERE id = $1 AND version = $2 RETURNING *",
        identity,
        int(if_match.strip('"')),
        *changes.values(),
    )
    if row is None:
        raise HTTPException(412)
    return dict(row)


@app.post("/imports", status_code=201)
async def import_claims(body: list[NewClaim]) -> dict[str, int]:
    """Write plain rows, all or none."""
    async with app.state.pool.acquire() as connection, connection.transaction():
        await connection.executemany(
            IMPORT, [[getattr(claim, name) for name in COLUMNS] for claim in body]
        )
    return {"created": len(body)}


@app.get("/changes", response_model=list[Claim])
async def list_changes(since: datetime, limit: int) -> Any:  # noqa: ANN401 - as above
    """List the claims that were changed behind a time, the earliest first."""
    rows = await app.state.pool.fetch(
        "SELECT * FROM rest.claims WHERE updated_at > $1 ORDER BY updated_at, id LIMIT $2",
        since,
        limit,
    )
    return [dict(row) for row in rows]


uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
