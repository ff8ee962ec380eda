"""Create the four records, their link index, their history and their outbox.

Revision ID: 0001
Revises: nothing

A row is a record: scalars are typed columns, value lists are `json` columns (which keep the order
and the spelling they were written with). A BEFORE trigger derives the version, the times and
`doc`, the published JSON. AFTER triggers, per statement, keep the link index, the revisions and
the outbox. A write by psql takes the same way as one by the service.
"""

from alembic import op

from migrations import derive
from migrations.record_types import RECORD_TYPES

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

COMMON = (
    "CREATE EXTENSION IF NOT EXISTS unaccent",
    "CREATE TEXT SEARCH CONFIGURATION claim_records (COPY = simple)",
    """
    ALTER TEXT SEARCH CONFIGURATION claim_records
        ALTER MAPPING FOR hword, hword_part, word WITH unaccent, simple
    """,
    # An instant in UTC as RFC 3339 says it, whatever the session's time zone.
    """
    CREATE FUNCTION instant(at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
        SELECT to_char(at AT TIME ZONE 'UTC', CASE
            WHEN date_trunc('second', at) = at THEN 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
            ELSE 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
        END)
    $$
    """,
    # A record's published JSON: what the server knows of it, then its content.
    """
    CREATE FUNCTION document(
        id uuid, version integer, created_at timestamptz, updated_at timestamptz, content text
    ) RETURNS bytea LANGUAGE sql STABLE AS $$
        SELECT convert_to(
            '{"id":"' || id || '","version":' || version
            || ',"created_at":"' || to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            || '","updated_at":"' || to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            || '",' || substr(content, 2),
            'UTF8'
        )
    $$
    """,
    # A bound on the time line: a date at its start or end in UTC, an instant at itself or, as an
    # end, one microsecond on. Immutable in truth, since an instant carries its offset.
    """
    CREATE FUNCTION time_bound(bound text, at_end boolean) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT CASE
            WHEN strpos(bound, 'T') > 0
            THEN bound::timestamptz + CASE WHEN at_end THEN interval '1 microsecond' ELSE interval '0' END
            ELSE (bound::date + at_end::integer)::timestamp AT TIME ZONE 'UTC'
        END
    $$
    """,
    # A time with one bound counts as that bound. (The bodies name no object of ours but through
    # pg_catalog or inline, since a restored dump computes generated columns with an empty path.)
    """
    CREATE FUNCTION time_from(at json) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT CASE
            WHEN strpos(bound, 'T') > 0 THEN bound::timestamptz
            ELSE bound::date::timestamp AT TIME ZONE 'UTC'
        END
        FROM coalesce(at ->> 'earliest', at ->> 'latest') AS bound
    $$
    """,
    """
    CREATE FUNCTION time_until(at json) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT CASE
            WHEN strpos(bound, 'T') > 0 THEN bound::timestamptz + interval '1 microsecond'
            ELSE (bound::date + 1)::timestamp AT TIME ZONE 'UTC'
        END
        FROM coalesce(at ->> 'latest', at ->> 'earliest') AS bound
    $$
    """,
    """
    CREATE FUNCTION names_text(names json) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT coalesce(string_agg(item ->> 'name', ' '), '') FROM json_array_elements(names) AS item
    $$
    """,
    # A name as it is looked up: accents and case ignored.
    """
    CREATE FUNCTION fold(name text) RETURNS text LANGUAGE sql STABLE AS $$
        SELECT left(lower(unaccent(lower(name))), 500)
    $$
    """,
    """
    CREATE FUNCTION denial_family(kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE
            WHEN kind IN ('full_denial', 'partial_denial', 'disputes_figures',
                          'disputes_responsibility', 'denies_knowledge', 'disowns_statement')
            THEN 'denies'
            WHEN kind IN ('non_denial_denial', 'disputes_characterisation', 'justification',
                          'counter_accusation', 'source_attack', 'demands_evidence')
            THEN 'deflects'
            WHEN kind IN ('neither_confirms_nor_denies', 'declined_to_comment') THEN 'declines'
            WHEN kind IN ('did_not_respond', 'could_not_be_reached', 'omission') THEN 'silent'
            WHEN kind IN ('affirmation', 'apology') THEN 'concedes'
            WHEN kind = 'unspecified' THEN 'unspecified'
        END
    $$
    """,
    """
    CREATE TABLE revisions (
        record_type text NOT NULL,
        record_id uuid NOT NULL,
        version integer NOT NULL,
        op text NOT NULL,
        at timestamptz NOT NULL,
        actor text,
        visibility smallint NOT NULL,
        doc bytea,
        CONSTRAINT revisions_pkey PRIMARY KEY (record_type, record_id, version)
    )
    """,
    # What the change feed will be numbered from; the transaction's id says what has become visible,
    # the classes (before: null for a new record) for whom the record has come or gone.
    """
    CREATE TABLE outbox (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT outbox_pkey PRIMARY KEY,
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        record_type text NOT NULL,
        record_id uuid NOT NULL,
        version integer NOT NULL,
        op text NOT NULL,
        at timestamptz NOT NULL,
        visibility_before smallint,
        visibility_after smallint NOT NULL
    )
    """,
    # The names of records in other systems. A deleted record keeps its own.
    """
    CREATE TABLE external_ids (
        record_type text NOT NULL,
        namespace text NOT NULL,
        value text NOT NULL,
        record_id uuid NOT NULL,
        CONSTRAINT external_ids_pkey PRIMARY KEY (record_type, namespace, value)
    )
    """,
    "CREATE INDEX external_ids_record_id_idx ON external_ids (record_id)",
)

# Who refers to whom. `live_id` is a record's id while it is not deleted: so Postgres itself refuses
# a link to a deleted record, and the deletion of a linked one, in whatever order they come. (It is
# set by the trigger: were it a generated column, then each update of a row with a BEFORE trigger
# would lock the row as if its key changed, and stand in the way of every link to it.)
LINKS = (
    """
    CREATE TABLE links (
        owner_type text NOT NULL,
        owner_id uuid NOT NULL,
        link text NOT NULL,
        hop integer,
        is_origin boolean NOT NULL,
        label text,
        source_id uuid,
        article_id uuid,
        claim_id uuid,
        denial_id uuid,
        CONSTRAINT links_one_target_check
            CHECK (num_nonnulls(source_id, article_id, claim_id, denial_id) = 1),
        CONSTRAINT links_source_id_fkey FOREIGN KEY (source_id)
            REFERENCES sources (live_id) DEFERRABLE INITIALLY IMMEDIATE,
        CONSTRAINT links_article_id_fkey FOREIGN KEY (article_id)
            REFERENCES articles (live_id) DEFERRABLE INITIALLY IMMEDIATE,
        CONSTRAINT links_claim_id_fkey FOREIGN KEY (claim_id)
            REFERENCES claims (live_id) DEFERRABLE INITIALLY IMMEDIATE,
        CONSTRAINT links_denial_id_fkey FOREIGN KEY (denial_id)
            REFERENCES denials (live_id) DEFERRABLE INITIALLY IMMEDIATE
    )
    """,
    "CREATE INDEX links_owner_id_idx ON links (owner_id)",
    *(
        f"CREATE INDEX links_{target}_id_idx ON links ({target}_id, owner_type, link)"
        f" WHERE {target}_id IS NOT NULL"
        for target in ("source", "article", "claim", "denial")
    ),
    """
    CREATE UNIQUE INDEX links_symmetric_key
        ON links (least(owner_id, claim_id), greatest(owner_id, claim_id), label)
        WHERE link = 'relation' AND owner_type = 'claim'
            AND label IN ('conflicts_with', 'same_origin_as', 'overlaps')
    """,
    # The figures of claims as ranges; vague ones have none.
    """
    CREATE TABLE figures (
        claim_id uuid NOT NULL,
        metric text NOT NULL,
        lower float8,
        upper float8,
        lower_open boolean NOT NULL,
        upper_open boolean NOT NULL
    )
    """,
    "CREATE INDEX figures_claim_id_idx ON figures (claim_id)",
    "CREATE INDEX figures_metric_idx ON figures (metric, lower, upper)",
    """
    CREATE TABLE source_names (
        source_id uuid NOT NULL,
        name text NOT NULL
    )
    """,
    "CREATE INDEX source_names_source_id_idx ON source_names (source_id)",
    "CREATE INDEX source_names_name_idx ON source_names (name text_pattern_ops)",
    """
    CREATE FUNCTION refuse_removal() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'records of % are never removed; set deleted_at', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END
    $$
    """,
)


def upgrade() -> None:
    """Create everything."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    statements = [
        *COMMON,
        *(statement for each in RECORD_TYPES for statement in derive.create_table(each)),
        *LINKS,
        *(statement for each in RECORD_TYPES for statement in derive.create_functions(each)),
    ]
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop everything, records included."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    tables = ("links", "figures", "source_names", "external_ids", "outbox", "revisions")
    for table in (*tables, *(each.table for each in RECORD_TYPES)):
        op.execute(f"DROP TABLE {table}")
    for each in RECORD_TYPES:
        for statement in derive.drop_functions(each):
            op.execute(statement)
    functions = (
        "refuse_removal", "denial_family", "fold", "names_text", "time_until", "time_from",
        "time_bound", "document", "instant",
    )  # fmt: skip
    for function in functions:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP TEXT SEARCH CONFIGURATION claim_records")
    op.execute("DROP EXTENSION unaccent")
