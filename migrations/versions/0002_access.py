"""Create keys, the audit log, and the identities of anonymous sources.

Revision ID: 0002
Revises: 0001

A write says who makes it in a row's `actor`: the key's id, then, behind tabs, the scope that
allowed it, the request's id and the route. The audit log takes that apart; a write by psql may put
a name there, or nothing.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_PARTS = """
        nullif(split_part({actor}, E'\\t', 1), ''), nullif(split_part({actor}, E'\\t', 2), ''),
        nullif(split_part({actor}, E'\\t', 3), ''), nullif(split_part({actor}, E'\\t', 4), '')"""
_COLUMNS = "key_id, scope, request_id, route, record_type, record_id, version, op"

STATEMENTS = (
    """
    CREATE TABLE keys (
        id text CONSTRAINT keys_pkey PRIMARY KEY,
        name text NOT NULL,
        scopes text[] NOT NULL,
        hash bytea NOT NULL,
        previous_hash bytea,
        previous_until timestamptz,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        created_by text,
        expires_at timestamptz,
        revoked_at timestamptz,
        last_used_at timestamptz
    )
    """,
    "CREATE INDEX keys_created_at_idx ON keys (created_at, id)",
    """
    CREATE TABLE audit (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_pkey PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        key_id text,
        scope text,
        route text,
        record_type text,
        record_id text,
        version integer,
        op text NOT NULL,
        request_id text,
        status integer
    )
    """,
    "CREATE INDEX audit_key_id_idx ON audit (key_id, id)",
    "CREATE INDEX audit_record_id_idx ON audit (record_id, id)",
    """
    CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the audit log is only added to';
    END
    $$
    """,
    """
    CREATE TRIGGER audit_rewriting BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting()
    """,
    # Every change of a record passes here, in its own transaction.
    f"""
    CREATE FUNCTION revisions_audited() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO audit ({_COLUMNS})
        SELECT {_PARTS.format(actor="n.actor").strip()},
               n.record_type, n.record_id::text, n.version, n.op
        FROM new_rows AS n
        ORDER BY n.at;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER revisions_audited AFTER INSERT ON revisions
        REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION revisions_audited()
    """,
    # For what has no revisions: to be called in the RETURNING of the change.
    f"""
    CREATE FUNCTION audited(actor text, record_type text, record_id text, op text)
    RETURNS bigint LANGUAGE sql VOLATILE AS $$
        INSERT INTO audit ({_COLUMNS})
        SELECT {_PARTS.format(actor="actor").strip()}, record_type, record_id, NULL, op
        RETURNING id
    $$
    """,
    """
    CREATE TABLE source_identities (
        id uuid CONSTRAINT source_identities_pkey PRIMARY KEY,
        source_id uuid NOT NULL
            CONSTRAINT source_identities_source_id_fkey REFERENCES sources (id),
        identity_id uuid NOT NULL
            CONSTRAINT source_identities_identity_id_fkey REFERENCES sources (id),
        basis text NOT NULL,
        disclosed_at timestamptz,
        note text,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        created_by text,
        CONSTRAINT source_identities_source_id_identity_id_key UNIQUE (source_id, identity_id),
        CONSTRAINT source_identities_check CHECK (source_id <> identity_id)
    )
    """,
    "CREATE INDEX source_identities_identity_id_idx ON source_identities (identity_id)",
)


def upgrade() -> None:
    """Create everything."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop everything: keys, the audit log, identities."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TRIGGER revisions_audited ON revisions")
    op.execute("DROP FUNCTION revisions_audited")
    for table in ("source_identities", "audit", "keys"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION audited")
    op.execute("DROP FUNCTION refuse_rewriting")
