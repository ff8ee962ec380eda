"""Let filters know each appearance, place and assessment, and let every filter have an index.

Revision ID: 0018
Revises: 0017

The link of an appearance says how it is printed and where it comes in its article. The places and
the assessments of claims get a table each, which the triggers of claims keep. Nothing changes in a
document, so no version and no event is made.
"""

from alembic import op

from migrations import derive
from migrations.record_types import (
    ASSESSMENTS_18,
    CLAIMS_17,
    CLAIMS_18,
    DENIALS_17,
    DENIALS_18,
    LINK_COLUMNS_18,
    PLACES_18,
)

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_PRINTED = ((CLAIMS_17, CLAIMS_18), (DENIALS_17, DENIALS_18))

# A write that began before would go on with the former triggers, so it has to end first.
_WAIT_FOR_WRITES = "LOCK TABLE claims, denials IN SHARE ROW EXCLUSIVE MODE"
_TABLES = (
    """
    CREATE TABLE places (
        claim_id uuid NOT NULL,
        role text NOT NULL,
        words tsvector NOT NULL,
        country_code text,
        spot point
    )
    """,
    "CREATE INDEX places_claim_id_idx ON places (claim_id)",
    "CREATE INDEX places_role_idx ON places (role)",
    "CREATE INDEX places_words_idx ON places USING gin (words)",
    "CREATE INDEX places_country_code_idx ON places (country_code)",
    "CREATE INDEX places_spot_idx ON places USING gist (spot)",
    """
    CREATE TABLE assessments (
        claim_id uuid NOT NULL,
        assessor text NOT NULL,
        label text NOT NULL
    )
    """,
    "CREATE INDEX assessments_claim_id_idx ON assessments (claim_id)",
    "CREATE INDEX assessments_assessor_idx ON assessments (assessor, label)",
    "CREATE INDEX assessments_label_idx ON assessments (label)",
)
_IS_CREDITED = """
    CREATE FUNCTION is_credited(attributions json) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT EXISTS (
            SELECT FROM json_to_recordset(attributions) AS a(source_id text, printed text)
            WHERE num_nonnulls(a.source_id, a.printed) > 0
        )
    $$
    """

_TERMS = {
    "articles": ("kind", "publisher_id", "status"),
    "claims": ("certainty", "embedding", "polarity", "speech_act", "validity"),
    "denials": ("family", "observed_by", "validity"),
    "sources": ("confidentiality", "identification"),
}
_CREDITED = "(is_credited(attributions), created_at, id)"
INDEXES = {
    **{
        f"{table}_{column}_idx": f"{table} ({column}, created_at, id) WHERE deleted_at IS NULL"
        for table, columns in _TERMS.items()
        for column in columns
    },
    # Of deleted records as well: Postgres takes no statistics of an expression from a partial index.
    "claims_credited_idx": f"claims {_CREDITED}",
    "denials_credited_idx": f"denials {_CREDITED}",
    "links_appearance_idx": "links (owner_type, label, quote_type, stance)"
    " WHERE link = 'appearance'",
    "links_coverage_idx": "links (label) WHERE link = 'target'",
    "source_names_words_idx": "source_names"
    " USING gin (to_tsvector('claim_records', search_text(name)))",
}


def upgrade() -> None:
    """Create the tables and fill them; then create the indexes while others write."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    statements = [
        _WAIT_FOR_WRITES,
        *(f"ALTER TABLE links ADD COLUMN {definition}" for definition in LINK_COLUMNS_18),
        *_TABLES,
        _IS_CREDITED,
        *(
            statement
            for _, after in _PRINTED
            for statement in (
                *derive.replace_derived(after, derive.ACTOR_6),
                *derive.refill_links(after, "appearance"),
            )
        ),
        *(derive.fill(CLAIMS_18, each) for each in (PLACES_18, ASSESSMENTS_18)),
    ]
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        for name, definition in INDEXES.items():
            for statement in derive.create_concurrently(name, definition):
                op.execute(statement)
        # The planner knows nothing of keys that are expressions, and of new columns, before.
        for table in (*_TERMS, "assessments", "links", "places", "source_names"):
            op.execute(f"ANALYZE {table}")


def downgrade() -> None:
    """Drop the indexes, the tables and the columns."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    statements = [
        _WAIT_FOR_WRITES,
        *(f"DROP INDEX {name}" for name in INDEXES),
        *(
            statement
            for before, _ in _PRINTED
            for statement in derive.replace_derived(before, derive.ACTOR_6)
        ),
        "DROP FUNCTION is_credited",
        "DROP TABLE places, assessments",
        *(f"ALTER TABLE links DROP COLUMN {each.split()[0]}" for each in LINK_COLUMNS_18),
    ]
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)
