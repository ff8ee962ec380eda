# /// script
# requires-python = ">=3.11"
# dependencies = ["kinto[postgresql]==26.5.0", "psycopg2-binary", "waitress"]
# ///
"""Kinto on Postgres, with the settings that its documentation gives for production.

It keeps records as documents in tables of its own, so the claims are copied into these first.
Anyone may read and write them, as with the other peers. Waitress serves it, as in the configuration
that `kinto init` writes.
"""

import json
import os
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg2
import waitress
from kinto import main
from kinto.core.scripts import migrate
from webob import Request

parts = urlsplit(os.environ["DATABASE_URL"])
given = parse_qs(parts.query)
host = given.get("host", [parts.hostname])[0]
port = given.get("port", [str(parts.port or 5432)])[0]
url = f"postgresql://{parts.username}@/{parts.path[1:]}?host={host}&port={port}"
url += "&options=-csearch_path%3Dkinto"
pool = os.environ["POOL"]

COPY = """
    INSERT INTO objects (id, parent_id, resource_name, last_modified, data, deleted)
    SELECT id::text, '/buckets/bench/collections/claims', 'record',
        timestamp '2026-01-01' + row_number() OVER (ORDER BY updated_at, id) * interval '1 ms',
        to_jsonb(c) - 'id', false
    FROM rest.claims AS c"""
SETTINGS = {
    "kinto.storage_backend": "kinto.core.storage.postgresql",
    "kinto.storage_url": url,
    "kinto.storage_pool_size": pool,
    "kinto.cache_backend": "kinto.core.cache.postgresql",
    "kinto.cache_url": url,
    "kinto.cache_pool_size": pool,
    "kinto.permission_backend": "kinto.core.permission.postgresql",
    "kinto.permission_url": url,
    "kinto.permission_pool_size": pool,
    "kinto.paginate_by": "1000",
    "kinto.batch_max_requests": "1000",
    "kinto.bucket_create_principals": "system.Everyone",
    "kinto.userid_hmac_secret": "bench",
}


def send(path: str, document: dict[str, Any]) -> None:
    """Make a bucket or a collection."""
    request = Request.blank(f"/v1{path}", method="PUT", content_type="application/json")
    request.body = json.dumps(document).encode()
    answer = request.get_response(app)
    if answer.status_code not in (200, 201):
        raise SystemExit(answer.text)


with psycopg2.connect(url) as connection, connection.cursor() as cursor:
    cursor.execute("CREATE SCHEMA IF NOT EXISTS kinto")
connection.close()
app = main({}, **SETTINGS)
migrate({"registry": app.registry})
everyone = {"read": ["system.Everyone"], "write": ["system.Everyone"]}
send("/buckets/bench", {"permissions": everyone})
send("/buckets/bench/collections/claims", {"permissions": everyone})
with psycopg2.connect(url) as connection, connection.cursor() as cursor:
    cursor.execute(COPY)
    cursor.execute("ANALYZE objects")
connection.close()
waitress.serve(app, host="127.0.0.1", port=int(os.environ["PORT"]), threads=int(pool))
