"""What is said twice says the same: Structs and tables, Python and SQL, and the published terms."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest

from api.core.resource import Resource
from migrations import chains
from schemas.base import Part
from schemas.shapes import Shape, fields, is_vocabulary, shape
from schemas.vocabularies import (
    FAMILY_OF,
    SYMMETRIC_RELATIONS,
    SYMMETRIC_SOURCE_RELATIONS,
    VOCABULARIES,
    Audited,
    AuditOp,
    DenialKind,
    Link,
    RecordType,
    RelationKind,
    SourceRelationKind,
)
from tests.factories import (
    EVERY,
    Connection,
    Ids,
    Noun,
    complete,
    content,
    count_rows,
    create,
    unique,
)

INTERNAL = {
    *("actor", "actor_scope", "actor_request_id", "actor_route"),
    *("deleted_at", "live_id", "visibility", "lifts_at", "doc", "digest", "search"),
}
"""Columns that are not published; besides them those that serve filters, as *_from and *_until."""

FOLLOWING = ("links", "figures", "source_names", "places", "assessments")
"""Tables that know what is in a record for as long as it is not deleted."""


@pytest.fixture
async def transaction(connection: Connection) -> AsyncIterator[Connection]:
    """Look behind the service, and leave no trace."""
    changes = connection.transaction()
    await changes.start()
    yield connection
    await changes.rollback()


# --- one record, said four times -------------------------------------------------------------


def properties(resource: Resource) -> dict[str, Shape]:
    """Give a record's properties in order, each with what it holds."""
    own = {field.name: field.encode_name for field in fields(resource.create)}
    return {own.get(f.name, f.encode_name): shape(f.type) for f in fields(resource.record)}


_SIMPLE = {int: "integer", bool: "boolean"}


def column_type(name: str, found: Shape) -> str:
    """Say in which column type a property is kept."""
    if found.many:
        return "ARRAY" if found.kind is str else "json"
    if found.refers_to or name == "id":
        return "uuid"
    if found.instant:
        return "timestamp with time zone"
    if found.kind in _SIMPLE:
        return _SIMPLE[found.kind]
    if found.kind is str or is_vocabulary(found.kind):
        return "text"
    assert issubclass(found.kind, Part)
    return "json"


def test_a_record_has_what_its_creator_writes_and_more(noun: Noun) -> None:
    create_, record = noun.resource.create, noun.resource.record
    written = {field.encode_name: field for field in fields(create_)}
    read = properties(noun.resource)
    assert set(written) < set(read)
    assert all(field.required for field in fields(record))
    for name, field in written.items():
        assert read[name] == shape(field.type)
    patched = {field.encode_name: field for field in fields(noun.resource.update)}
    assert set(patched) == set(written)
    assert not any(field.required for field in patched.values())


async def test_the_table_holds_the_record(connection: Connection, noun: Noun) -> None:
    rows = await connection.fetch(
        "SELECT column_name, data_type, is_nullable = 'YES' AS nullable"
        " FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = $1 ORDER BY ordinal_position",
        noun.resource.plural,
    )
    columns = {row["column_name"]: (row["data_type"], row["nullable"]) for row in rows}
    expected = {
        name: (column_type(name, found), found.optional and not found.filled)
        for name, found in properties(noun.resource).items()
    }
    internal = columns.keys() - expected.keys() - INTERNAL
    of_lists = {"article_ids", *chains.CHAIN}
    assert all(name.endswith(("_from", "_until")) or name in of_lists for name in internal)
    published = {name: kind for name, kind in columns.items() if name in expected}
    assert published == expected
    embargoed = {"lifts_at"} if "embargoed_until" in expected else set()
    assert columns.keys() & INTERNAL == INTERNAL - {"lifts_at"} | embargoed


async def test_the_row_type_is_the_document_in_its_order(
    connection: Connection, noun: Noun
) -> None:
    rows = await connection.fetch(
        "SELECT attribute_name, data_type FROM information_schema.attributes"
        " WHERE udt_schema = 'public' AND udt_name = $1 ORDER BY ordinal_position",
        f"{noun.type}_content",
    )
    expected = {
        name: "text" if found.instant else column_type(name, found)
        for name, found in properties(noun.resource).items()
        if name not in {"id", "version", "created_at", "updated_at"}
    }
    assert [tuple(row) for row in rows] == list(expected.items())


@pytest.mark.parametrize("size", ["minimal", "full"])
async def test_the_stored_document_is_a_record(
    client: httpx.AsyncClient, connection: Connection, noun: Noun, ids: Ids, size: str
) -> None:
    body = noun.minimal() if size == "minimal" else noun.full(ids)
    record = await create(client, noun, body)
    query = f"SELECT doc FROM {noun.resource.plural} WHERE id = $1"
    doc = json.loads(await connection.fetchval(query, record.id))
    assert list(doc) == list(properties(noun.resource))
    assert doc == record.record
    renamed = {
        field.name: doc[name]
        for field, name in zip(fields(noun.resource.record), properties(noun.resource), strict=True)
    }
    msgspec.convert(renamed, noun.resource.record)
    msgspec.convert(content(noun, doc), noun.resource.create)


async def test_parts_keep_the_order_and_the_names_of_their_structs(
    client: httpx.AsyncClient, noun: Noun, ids: Ids
) -> None:
    record = await create(client, noun, noun.full(ids))
    for field in fields(noun.resource.create):
        for kind, value in inside(field.type, record.record[field.encode_name]):
            assert list(value) == [inner.encode_name for inner in fields(kind)]


def inside(annotation: Any, value: Any) -> Iterator[tuple[type[Part], dict[str, Any]]]:
    """Yield every object in a value, with the Struct that it is of."""
    found = shape(annotation)
    if not (isinstance(found.kind, type) and issubclass(found.kind, Part)) or value is None:
        return
    for item in value if found.many else [value]:
        yield found.kind, item
        for field in fields(found.kind):
            yield from inside(field.type, item[field.encode_name])


# --- vocabularies ----------------------------------------------------------------------------


async def test_sql_knows_the_family_of_every_kind(connection: Connection) -> None:
    rows = await connection.fetch(
        "SELECT kind, denial_family(kind) AS family FROM unnest($1::text[]) AS kind",
        [kind.value for kind in DenialKind],
    )
    assert {row["kind"]: row["family"] for row in rows} == {
        kind.value: family.value for kind, family in FAMILY_OF.items()
    }
    assert await connection.fetchval("SELECT denial_family('denial')") is None


async def test_sql_knows_the_symmetric_relations(connection: Connection) -> None:
    index = await connection.fetchval(
        "SELECT pg_get_expr(indpred, indrelid) FROM pg_index"
        " WHERE indexrelid = 'links_symmetric_key'::regclass"
    )
    named = {kind for kind in RelationKind if f"'{kind}'::text" in index}
    assert named == SYMMETRIC_RELATIONS
    index = await connection.fetchval(
        "SELECT pg_get_expr(indpred, indrelid) FROM pg_index"
        " WHERE indexrelid = 'links_symmetric_sources_key'::regclass"
    )
    of_sources = {kind for kind in SourceRelationKind if f"'{kind}'::text" in index}
    assert of_sources == SYMMETRIC_SOURCE_RELATIONS


async def test_sql_links_records_by_published_terms_only(
    client: httpx.AsyncClient, connection: Connection, ids: Ids
) -> None:
    for noun in EVERY.values():
        await create(client, noun, noun.full(ids))
    sources = EVERY[RecordType.SOURCE]
    other, survivor = [await create(client, sources, sources.minimal()) for _ in range(2)]
    answer = await client.post(
        f"{survivor.path}/merge", json={"source_id": other.id}, headers={"if-match": "*"}
    )
    assert answer.status_code == 200, answer.text
    rows = await connection.fetch("SELECT DISTINCT link FROM links")
    assert {row["link"] for row in rows} == {link.value for link in Link}


async def test_the_audit_log_holds_published_terms_only(
    client: httpx.AsyncClient, connection: Connection
) -> None:
    key = (await client.post("/v1/keys", json={"name": "drift", "scopes": ["read"]})).json()
    await client.post(f"/v1/keys/{key['id']}/rotate", json={})
    await client.delete(f"/v1/keys/{key['id']}")
    rows = await connection.fetch("SELECT DISTINCT op, record_type FROM audit")
    assert {row["op"] for row in rows} <= {op.value for op in AuditOp}
    assert {row["record_type"] for row in rows} <= {kind.value for kind in Audited} | {None}


async def test_the_published_vocabularies_are_those_of_the_code(
    client: httpx.AsyncClient,
) -> None:
    response = await client.get("/v1/vocabularies")
    published = {each["name"]: each for each in response.json()["items"]}
    assert list(published) == list(VOCABULARIES)
    for name, vocabulary in VOCABULARIES.items():
        terms = published[name]["terms"]
        assert [(t["term"], t["meaning"]) for t in terms] == [
            (term.value, term.meaning) for term in vocabulary
        ]
        assert published[name]["description"]
        assert all(term["meaning"] for term in terms)
    families = {term["term"]: term["family"] for term in published["denial_kind"]["terms"]}
    assert families == FAMILY_OF


def test_every_noun_has_a_record_type() -> None:
    assert set(EVERY) == set(RecordType)


# --- a write by plain SQL is a write like any other ------------------------------------------


async def insert(connection: Connection, noun: Noun, body: dict[str, Any]) -> str:
    """Insert a row as psql would: typed literals, nothing of the server's own."""
    columns = ", ".join(body)
    kinds = [column_type(name, properties(noun.resource)[name]) for name in body]
    casts = {"ARRAY": "text[]"}
    values = ", ".join(
        f"${n}::text::{casts.get(kind, kind)}" for n, kind in enumerate(kinds, start=2)
    )
    given = [literal(value, kind) for value, kind in zip(body.values(), kinds, strict=True)]
    identity = str(uuid4())
    await connection.execute(
        f"INSERT INTO {noun.resource.plural} (id, {columns}) VALUES ($1, {values})",
        identity,
        *given,
    )
    return identity


def literal(value: Any, kind: str) -> str | None:
    """Write a value as a literal of a column type."""
    if value is None:
        return None
    if kind == "ARRAY":
        return "{" + ",".join(json.dumps(item, ensure_ascii=False) for item in value) + "}"
    return json.dumps(value, ensure_ascii=False) if kind == "json" else str(value)


async def derived(connection: Connection, identity: str) -> dict[str, list[tuple[Any, ...]]]:
    """Read what follows from a record, beside its document."""
    queries = {
        "links": "SELECT owner_type, link, hop, is_origin, label, source_id, article_id, claim_id,"
        " denial_id, quote_type, stance, reading_order FROM links WHERE owner_id = $1",
        "places": "SELECT role, words::text, country_code, spot::text FROM places"
        " WHERE claim_id = $1",
        "assessments": "SELECT assessor, label FROM assessments WHERE claim_id = $1",
        "external_ids": "SELECT record_type, namespace FROM external_ids WHERE record_id = $1",
        "figures": "SELECT owner_type, index, metric, unit, population, lower, upper, lower_open,"
        " upper_open, during, topics FROM figures WHERE owner_id = $1",
        "figure_topics": "SELECT owner_type, index, topic, during FROM figure_topics"
        " WHERE owner_id = $1",
        "source_names": "SELECT name FROM source_names WHERE source_id = $1",
        "revisions": "SELECT record_type, version, op FROM revisions WHERE record_id = $1",
        "outbox": "SELECT record_type, version, op FROM outbox WHERE record_id = $1",
    }
    return {
        name: sorted((tuple(row) for row in await connection.fetch(query, identity)), key=repr)
        for name, query in queries.items()
    }


async def document(connection: Connection, noun: Noun, identity: str) -> dict[str, Any]:
    """Read a stored document, and hold the revision of its version to it."""
    row = await connection.fetchrow(
        f"SELECT t.doc, r.doc AS revised, r.at = t.updated_at AS same"
        f" FROM {noun.resource.plural} AS t JOIN revisions AS r"
        f" ON r.record_type = '{noun.type}' AND r.record_id = t.id AND r.version = t.version"
        " WHERE t.id = $1",
        identity,
    )
    assert row is not None
    assert row["doc"] == row["revised"]
    assert row["same"]
    found: dict[str, Any] = json.loads(row["doc"])
    return found


OWN = ("id", "version", "created_at", "updated_at", "external_ids", "url")


async def test_an_insert_by_hand_is_a_create(
    client: httpx.AsyncClient, transaction: Connection, noun: Noun, ids: Ids
) -> None:
    record = await create(client, noun, noun.full(ids))
    body = complete(noun, noun.full(ids))
    identity = await insert(transaction, noun, body)
    doc = await document(transaction, noun, identity)
    assert {k: v for k, v in doc.items() if k not in OWN} == {
        k: v for k, v in record.record.items() if k not in OWN
    }
    assert doc["version"] == 1
    expected = await derived(transaction, record.id)
    assert await derived(transaction, identity) == expected
    assert expected["links"]


async def test_a_small_insert_by_hand_is_a_create_too(
    client: httpx.AsyncClient, transaction: Connection, noun: Noun
) -> None:
    """Columns that are left out have the defaults of the schema."""
    record = await create(client, noun)
    required = [f.encode_name for f in fields(noun.resource.create) if f.required]
    filled = [f.encode_name for f in fields(noun.resource.create) if shape(f.type).filled]
    body = {name: record.record[name] for name in {*required, *filled, *noun.minimal()}}
    identity = await insert(transaction, noun, body)
    doc = await document(transaction, noun, identity)
    assert {k: v for k, v in doc.items() if k not in OWN} == {
        k: v for k, v in record.record.items() if k not in OWN
    }
    assert await derived(transaction, identity) == await derived(transaction, record.id)


async def test_an_update_by_hand_is_an_update(
    client: httpx.AsyncClient, transaction: Connection, noun: Noun, ids: Ids
) -> None:
    record = await create(client, noun, noun.full(ids))
    table = noun.resource.plural
    before = await count_rows(transaction)
    # The server's own columns are not the writer's to set.
    await transaction.execute(
        f"UPDATE {table} SET note = 'by hand', external_ids = '[]', version = 77,"
        " created_at = 'epoch', updated_at = 'epoch', doc = ''::bytea WHERE id = $1",
        record.id,
    )
    doc = await document(transaction, noun, record.id)
    assert {**doc, "updated_at": None} == {
        **record.record,
        "note": "by hand",
        "external_ids": [],
        "version": 2,
        "updated_at": None,
    }
    after = await count_rows(transaction)
    changed = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert changed == {"revisions": 1, "outbox": 1, "audit": 1, "external_ids": -1}

    await transaction.execute(f"UPDATE {table} SET note = 'by hand' WHERE id = $1", record.id)
    assert await count_rows(transaction) == after
    assert (await document(transaction, noun, record.id))["version"] == 2


async def test_a_deletion_by_hand_is_a_tombstone(
    client: httpx.AsyncClient, transaction: Connection, noun: Noun, ids: Ids
) -> None:
    record = await create(client, noun, noun.full(ids))
    table = noun.resource.plural
    expected = await derived(transaction, record.id)
    await transaction.execute(f"UPDATE {table} SET deleted_at = 'epoch' WHERE id = $1", record.id)
    left = await derived(transaction, record.id)
    for name in FOLLOWING:
        assert left[name] == []
    assert left["external_ids"] == expected["external_ids"]
    assert [op for _, _, op in left["revisions"]] == ["created", "deleted"]
    row = await transaction.fetchrow(
        f"SELECT version, live_id, deleted_at = updated_at AS now FROM {table} WHERE id = $1",
        record.id,
    )
    assert row is not None
    assert tuple(row) == (2, None, True)

    await transaction.execute(f"UPDATE {table} SET deleted_at = NULL WHERE id = $1", record.id)
    back = await derived(transaction, record.id)
    for name in (*FOLLOWING, "external_ids"):
        assert back[name] == expected[name]
    assert [op for _, _, op in back["outbox"]] == ["created", "deleted", "restored"]


async def test_many_rows_in_one_statement_are_many_records(
    transaction: Connection, noun: Noun
) -> None:
    tag = unique()
    for number in range(3):
        await insert(transaction, noun, complete(noun, noun.minimal(tags=[tag, f"{number}"])))
    table = noun.resource.plural
    await transaction.execute(f"UPDATE {table} SET note = tags[2] WHERE tags @> $1", [tag])
    rows = await transaction.fetch(
        f"SELECT t.id, t.note, t.tags[2] AS number, array_agg(o.op ORDER BY o.id) AS ops"
        f" FROM {table} AS t JOIN outbox AS o ON o.record_id = t.id WHERE t.tags @> $1"
        " GROUP BY t.id",
        [tag],
    )
    assert len(rows) == 3
    for row in rows:
        assert row["note"] == row["number"]
        assert row["ops"] == ["created", "updated"]
        assert isinstance(row["id"], UUID)


@pytest.mark.parametrize("removal", ["DELETE FROM {}", "TRUNCATE {}", "TRUNCATE {} CASCADE"])
async def test_rows_are_never_removed(transaction: Connection, noun: Noun, removal: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as refused:
        await transaction.execute(removal.format(noun.resource.plural))
    assert isinstance(
        refused.value, asyncpg.RestrictViolationError | asyncpg.FeatureNotSupportedError
    )


async def test_the_id_of_a_record_does_not_change(
    client: httpx.AsyncClient, transaction: Connection, noun: Noun
) -> None:
    record = await create(client, noun)
    with pytest.raises(asyncpg.RaiseError):
        await transaction.execute(
            f"UPDATE {noun.resource.plural} SET id = gen_random_uuid() WHERE id = $1", record.id
        )
