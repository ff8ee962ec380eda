"""Names, origins and security headers: what every answer keeps to, refusals included."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api.core.db import _session
from api.embedded import running_url
from api.server import schema
from api.settings import Settings, SettingsError, read
from migrations.record_types import RECORD_TYPES
from tests.conftest import as_service, patient, serving
from tests.test_cli import run_alone
from tests.test_cli import serving as serving_for_real

PAGE = "https://desk.example"
ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


def problem(answer: httpx.Response, status: int, code: str) -> str:
    """Hold an answer to a status and a problem; give its detail."""
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert (answer.status_code, told["code"]) == (status, code)
    detail: str = told["detail"]
    return detail


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LocalHost:1", "[::1]", "[::1]:8000"]
)
async def test_the_names_of_loopback_are_ours(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/health/live", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "127.0.0.2", "[::2]"],
)
@pytest.mark.parametrize("path", ["/v1/claims", "/health/live", "/docs", "/nothing"])
async def test_another_name_is_421(client: httpx.AsyncClient, host: str, path: str) -> None:
    answer = await client.get(path, headers={"Host": host})
    assert "CLAIM_RECORDS_ALLOWED_HOSTS" in problem(answer, 421, "wrong-host")


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "DELETE", "HEAD"])
async def test_no_method_goes_by_another_name(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/v1/claims", headers={"Host": "evil.example"})
    assert answer.status_code == 421


@pytest.mark.parametrize(
    "host",
    ["", " ", "a b", "localhost:", "localhost:x", "localhost:123456", "user@localhost", "[::1",
     "localhost/", "localhost,evil.example", "http://localhost", ".", "%6cocalhost", "::1"],
)  # fmt: skip
async def test_what_is_no_host_is_400(client: httpx.AsyncClient, host: str) -> None:
    assert "Host" in problem(
        await client.get("/v1/claims", headers={"Host": host}), 400, "invalid-header"
    )


async def test_two_hosts_are_400(client: httpx.AsyncClient) -> None:
    headers = [("Host", "localhost"), ("Host", "localhost")]
    problem(await client.get("/v1/claims", headers=headers), 400, "invalid-header")


async def test_listed_names_are_ours_too(empty_url: str) -> None:
    listed = patient(allowed_hosts="records.example, api.example:8443", host="192.0.2.7")
    async with serving(empty_url, listed) as client:
        for host, status in (
            ("records.example", 200),
            ("Records.Example:99", 200),
            ("api.example:8443", 200),
            ("api.example", 421),
            ("api.example:8444", 421),
            ("192.0.2.7:8000", 200),
            ("192.0.2.8:8000", 421),
            ("localhost", 200),
        ):
            found = await client.get("/health/live", headers={"Host": host})
            assert (host, found.status_code) == (host, status)


@pytest.mark.parametrize("bound", ["0.0.0.0", "::"])  # noqa: S104 - nothing is bound
async def test_bound_to_every_address_any_address_is_ours_but_no_name(
    empty_url: str, bound: str
) -> None:
    async with serving(empty_url, patient(host=bound)) as client:
        for host, status in (
            ("192.0.2.8:8000", 200),
            ("[2001:db8::1]:8000", 200),
            ("evil.example", 421),
            ("1.2.3.4.evil.example", 421),
        ):
            found = await client.get("/health/live", headers={"Host": host})
            assert (host, found.status_code) == (host, status)


# --- pages of other origins ----------------------------------------------------------------------


@pytest.fixture
async def open_to_desk(empty_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Serve with one origin listed."""
    async with serving(empty_url, patient(cors_origins=f"{PAGE},http://localhost:3000")) as found:
        yield found


def cors(answer: httpx.Response) -> dict[str, str]:
    """Give what an answer tells pages of other origins."""
    return {k: v for k, v in answer.headers.items() if k.startswith("access-control-")}


async def test_no_origin_is_told_anything_by_default(client: httpx.AsyncClient) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    for answer in (
        await client.get("/v1/claims", headers=asked),
        await client.options("/v1/claims", headers=asked),
    ):
        assert cors(answer) == {}
        assert "Origin" not in answer.headers.get("vary", "")


async def test_a_listed_origin_may_read_answers_and_refusals(
    open_to_desk: httpx.AsyncClient,
) -> None:
    for path in ("/v1/claims", "/v1/claims/1", "/nothing", "/v1/claims?colour=red", "/docs"):
        answer = await open_to_desk.get(path, headers={"Origin": PAGE})
        told = cors(answer)
        assert told.pop("access-control-allow-origin") == PAGE
        exposed = told.pop("access-control-expose-headers").split(", ")
        assert {"ETag", "Link", "Location", "X-Request-Id", "RateLimit"} <= set(exposed)
        assert told == {}  # no credentials, ever
        assert "Origin" in answer.headers["vary"].split(", ")


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://desk.example", f"{PAGE}:444", f"{PAGE}.evil.example",
     f"{PAGE}/", "*", ""],
)  # fmt: skip
async def test_another_origin_is_told_nothing(open_to_desk: httpx.AsyncClient, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
    for answer in (
        await open_to_desk.get("/v1/claims", headers=asked),
        await open_to_desk.options("/v1/claims", headers=asked),
    ):
        assert cors(answer) == {}
        assert "Origin" in answer.headers["vary"].split(", ")


async def test_a_preflight_is_told_the_methods_and_headers(
    open_to_desk: httpx.AsyncClient,
) -> None:
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,content-type,if-match",
    }
    path = "/v1/claims/01938f7a-4c00-7000-8000-000000000001"
    answer = await open_to_desk.options(path, headers=asked)
    assert answer.status_code == 204
    told = cors(answer)
    assert told["access-control-allow-origin"] == PAGE
    assert told["access-control-allow-methods"] == answer.headers["allow"]
    assert "PATCH" in answer.headers["allow"]
    allowed = told["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "if-match", "if-none-match"} <= set(allowed)
    assert "access-control-allow-credentials" not in told


@pytest.mark.parametrize("origins", ["*", f"{PAGE},*", f"{PAGE}/", "desk.example", "null"])
def test_only_exact_origins_can_be_listed(origins: str) -> None:
    with pytest.raises(SettingsError, match="CLAIM_RECORDS_CORS_ORIGINS"):
        read({"CLAIM_RECORDS_CORS_ORIGINS": origins})


# --- headers of every answer ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/v1/claims", {}),
        ("HEAD", "/v1/claims", {}),
        ("OPTIONS", "/v1/claims", {}),
        ("GET", "/v1/claims?colour=red", {}),
        ("GET", "/nothing", {}),
        ("TRACE", "/v1/claims", {}),
        ("DELETE", "/v1/claims", {}),
        ("POST", "/v1/claims", {"Content-Type": "text/plain"}),
        ("GET", "/v1/claims", {"Host": "evil.example"}),
        ("GET", "/" + "x" * 9000, {}),
        ("GET", "/v1/claims", {"X": "x" * 17_000}),
        ("GET", "/%ff", {}),
    ],
)
async def test_every_answer_has_the_security_headers(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = await client.request(method, path, headers=headers)
    assert {name: answer.headers.get(name) for name in ALWAYS} == ALWAYS
    assert "server" not in answer.headers
    assert len(answer.headers["x-request-id"]) >= 8


# --- the role in the database --------------------------------------------------------------------


@pytest.fixture
async def limited(empty_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Connect as the service does."""
    await schema.grant(empty_url, schema.SERVICE_ROLE)  # a clone has no rights on the database yet
    found = await asyncpg.connect(as_service(empty_url))
    try:
        yield found
    finally:
        await found.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (x int)",
        "CREATE TEMPORARY TABLE revisions (x int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1",
        "CREATE SCHEMA mine",
        "ALTER TABLE claims ADD COLUMN x int",
        "ALTER TABLE claims DISABLE TRIGGER ALL",
        "DROP TABLE claims",
        "DROP TRIGGER claims_before ON claims",
        "TRUNCATE claims",
        "TRUNCATE revisions",
        "UPDATE revisions SET version = 2",
        "DELETE FROM revisions",
        "UPDATE outbox SET version = 2",
        "DELETE FROM outbox",
        "UPDATE audit SET route = ''",
        "DELETE FROM audit",
        "UPDATE alembic_version SET version_num = '0'",
        "CREATE ROLE other",
        "ALTER SYSTEM SET fsync = off",
        "COPY claims TO PROGRAM 'cat'",
        "SELECT pg_read_file('PG_VERSION')",
    ],
)
async def test_the_role_of_the_service_changes_no_schema_and_no_history(
    limited: asyncpg.Connection[asyncpg.Record], statement: str
) -> None:
    assert await limited.fetchval("SELECT current_user") == schema.SERVICE_ROLE
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await limited.execute(statement)


_DIVERTED: Final = (
    *("links", "figures", "figure_topics", "places", "assessments"),
    *("external_ids", "revisions", "outbox", "audit"),
)
_SHADOWED: Final = (
    (
        "CREATE FUNCTION pg_temp.claim_visibility(text, timestamptz) RETURNS smallint"
        " LANGUAGE sql RETURN 0::smallint"
    ),
    (
        "CREATE FUNCTION pg_temp.document(uuid, integer, timestamptz, timestamptz, text)"
        " RETURNS bytea LANGUAGE sql RETURN ''::bytea"
    ),
    "CREATE DOMAIN pg_temp.claim_content AS text",
)


@pytest.mark.parametrize("path", [None, "pg_temp, public", "pg_temp, public, pg_catalog"])
async def test_nothing_temporary_stands_between_a_write_and_its_history(
    empty_url: str, path: str | None
) -> None:
    """Even where the role was given back the right to create temporary tables."""
    owner = await asyncpg.connect(empty_url)
    writer = await asyncpg.connect(as_service(empty_url))
    try:
        database = urlsplit(empty_url).path.removeprefix("/")
        await owner.execute(f"GRANT TEMPORARY ON DATABASE {database} TO PUBLIC")
        for table in _DIVERTED:
            await writer.execute(f"CREATE TEMPORARY TABLE {table} (LIKE public.{table})")
        for statement in _SHADOWED:
            await writer.execute(statement)
        if path:
            await writer.execute(f"SET search_path = {path}")
        claim = uuid4()
        figure = '[{"metric": "killed", "qualifier": "exact", "value": 1}]'
        name = '[{"namespace": "n", "value": "v"}]'
        for statement in (
            (
                "INSERT INTO public.claims (id, text, quantities, external_ids)"
                f" VALUES ('{claim}', 'x', '{figure}', '{name}')"
            ),
            f"UPDATE public.claims SET text = 'y' WHERE id = '{claim}'",
            f"UPDATE public.claims SET deleted_at = now() WHERE id = '{claim}'",
            "SELECT public.audited(ARRAY['me'], 'key', 'k', 'revoked')",
        ):
            await writer.execute(statement)
        for table, count in {"revisions": 3, "outbox": 3, "audit": 4, "external_ids": 1}.items():
            assert await owner.fetchval(f"SELECT count(*) FROM {table}") == count, table
        row = await owner.fetchrow("SELECT visibility, doc FROM claims")
        assert row is not None
        assert row["visibility"] == 1
        assert json.loads(row["doc"])["text"] == "y"
    finally:
        await writer.close()
        await owner.close()


_INLINED: Final = {
    "instant",
    "document",
    "time_bound",
    "fold",
    "denial_family",
    "derived_headline",
    "has_source",
    "is_credited",
    "change_head",
    *(f"{each.type}_{what}" for each in RECORD_TYPES for what in ("visibility", "links")),
}
"""SQL functions that Postgres puts into the statement that calls them: a setting would prevent it.

(`has_source` and `is_credited` are called for each row at which an index or a list looks, and a
setting takes time at each call.) They name no table and nothing of ours. Those that decide what is
stored are called by triggers.
"""


async def test_every_function_names_the_schema_in_which_it_looks(empty_url: str) -> None:
    connection = await asyncpg.connect(empty_url)
    try:
        rows = await connection.fetch(
            "SELECT p.proname, p.prosrc, 'search_path=public, pg_temp' = ANY(p.proconfig) AS bound"
            " FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace AND NOT EXISTS ("
            " SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')"
        )
    finally:
        await connection.close()
    assert {row["proname"] for row in rows if not row["bound"]} == _INLINED


async def test_the_role_of_the_service_is_nobody_else(
    limited: asyncpg.Connection[asyncpg.Record],
) -> None:
    row = await limited.fetchrow(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
        " FROM pg_roles WHERE rolname = current_user"
    )
    assert row is not None
    assert not any(row.values())
    owned = "SELECT count(*) FROM pg_class WHERE relowner = current_user::regrole"
    assert await limited.fetchval(owned) == 0


async def test_every_table_of_history_only_grows(
    limited: asyncpg.Connection[asyncpg.Record],
) -> None:
    """A table that comes later is granted with the others; what of it is history is said there."""
    rows = await limited.fetch(
        "SELECT relname, has_table_privilege(oid, 'SELECT') AS reads,"
        " has_table_privilege(oid, 'UPDATE') AS changes,"
        " has_table_privilege(oid, 'TRUNCATE') AS cuts"
        " FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    assert all(row["reads"] and not row["cuts"] for row in rows)
    unchanging = {row["relname"] for row in rows if not row["changes"]}
    history = {"revisions", "outbox", "feed", "feed_states", "audit"}
    # A block is only made and deleted, by the owner's functions.
    assert unchanging == history | {"alembic_version", "feed_blocks"}


@pytest.mark.process
@pytest.mark.newest
async def test_the_embedded_postgres_is_served_by_that_role(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving_for_real(tmp_path, "--demo", "--data-dir", str(data)) as service:
        assert service.get("/v1/claims").json()["items"]
        owner = await asyncpg.connect(running_url(data))
        try:
            roles = await owner.fetch(
                "SELECT DISTINCT usename FROM pg_stat_activity"
                " WHERE application_name = 'claim-records'"
            )
        finally:
            await owner.close()
        assert [row["usename"] for row in roles] == [schema.SERVICE_ROLE]


async def test_behind_pgbouncer_the_role_has_the_settings_of_a_session(empty_url: str) -> None:
    """What the section on pgbouncer in docs/operating.md says, done."""
    page = (Path(__file__).parents[1] / "docs/operating.md").read_text()
    statements = re.findall(r"^ALTER ROLE records SET .*;$", page, re.MULTILINE)
    expected = {
        name: value
        for name, value in _session(Settings(), Settings().statement_seconds).items()
        if name != "application_name"
    }
    role = f"records_{uuid4().hex}"
    connection = await asyncpg.connect(empty_url)
    try:
        await connection.execute(f"CREATE ROLE {role} LOGIN")
        for statement in statements:
            await connection.execute(statement.replace(" records ", f" {role} "))
        for name, value in expected.items():
            settings = await connection.fetchval(
                "SELECT setconfig FROM pg_db_role_setting WHERE setrole = $1::regrole", role
            )
            await connection.execute(f"SET {name} = '{value}'")
            wanted = await connection.fetchval("SELECT current_setting($1)", name)
            given = {each.split("=")[0].lower(): each.split("=")[1] for each in settings}[name]
            await connection.execute(f"SET {name} = '{given}'")
            assert await connection.fetchval("SELECT current_setting($1)", name) == wanted
    finally:
        await connection.execute(f"DROP ROLE IF EXISTS {role}")
        await connection.close()


@pytest.mark.long
async def test_ones_own_postgres_is_migrated_by_another_role(empty_url: str) -> None:
    """What the README's section on one's own Postgres says."""
    owner, name = f"owner_{uuid4().hex}", urlsplit(empty_url).path.removeprefix("/")
    connection = await asyncpg.connect(empty_url)
    try:
        await connection.execute(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION pg_database_owner;"
            f"CREATE ROLE {owner}; ALTER DATABASE {name} OWNER TO {owner}"
        )
        mark = "&" if "?" in empty_url else "?"
        migrating = f"{empty_url}{mark}role={owner}"
        done = await asyncio.to_thread(
            run_alone,
            "migrate",
            "--grant-to",
            schema.SERVICE_ROLE,
            DATABASE_URL=as_service(empty_url),
            CLAIM_RECORDS_MIGRATE_URL=migrating,
        )
        assert (done.code, done.err) == (0, "")
        async with serving(empty_url) as client:
            made = await client.post("/v1/sources", json={"kind": "person", "name": "Lee"})
            assert made.status_code == 201
            assert (
                await client.delete(made.headers["location"], headers={"If-Match": "*"})
            ).is_success
    finally:
        await connection.execute(
            f"REASSIGN OWNED BY {owner} TO CURRENT_USER; DROP OWNED BY {owner}; DROP ROLE {owner}"
        )
        await connection.close()
