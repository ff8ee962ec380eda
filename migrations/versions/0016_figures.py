"""Keep what is asked of figures: those of denials too, with unit, population, time and topics.

Revision ID: 0016
Revises: 0015

A figure is a row, named by its record and its index in the record's list. Unit and population are
folded as names are. `during` is the time that the figure is about, if it is known: `as_of`, or else
the time at which it happened. A topic says what a figure counts, and where: figures of one topic whose
times overlap can be compared. An index over topic and time together needs `btree_gist`, which comes
with Postgres as `unaccent` does.
"""

from alembic import op

from migrations import defining, derive
from migrations.record_types import CLAIMS_12, CLAIMS_16, DENIALS_15, DENIALS_16

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_LOCK = "LOCK TABLE claims, denials IN SHARE ROW EXCLUSIVE MODE"
_TABLE = (
    """
    CREATE TABLE figures (
        owner_type text NOT NULL,
        owner_id uuid NOT NULL,
        index integer NOT NULL,
        metric text NOT NULL,
        unit text,
        population text,
        lower float8,
        upper float8,
        lower_open boolean NOT NULL,
        upper_open boolean NOT NULL,
        during tstzrange,
        topics uuid[] NOT NULL,
        CONSTRAINT figures_pkey PRIMARY KEY (owner_type, owner_id, index)
    )
    """,
    """
    CREATE TABLE figure_topics (
        owner_type text NOT NULL,
        owner_id uuid NOT NULL,
        index integer NOT NULL,
        topic uuid NOT NULL,
        during tstzrange NOT NULL,
        CONSTRAINT figure_topics_figure_fkey FOREIGN KEY (owner_type, owner_id, index)
            REFERENCES figures (owner_type, owner_id, index) ON DELETE CASCADE
    )
    """,
)
# Nothing is lost: every figure is in its record.
_DROP = """-- squawk-ignore ban-drop-table
    DROP TABLE figures"""
# Created when the tables are full.
_INDEXES = (
    "CREATE INDEX figures_lower_idx ON figures (owner_type, metric, lower, owner_id, index)",
    "CREATE INDEX figures_lower_desc_idx ON figures"
    " (owner_type, metric, lower DESC NULLS LAST, owner_id DESC, index DESC)",
    "CREATE INDEX figures_upper_idx ON figures (owner_type, metric, upper, owner_id, index)",
    "CREATE INDEX figures_unit_idx ON figures (owner_type, metric, unit, population)",
    "CREATE INDEX figures_population_idx ON figures (owner_type, metric, population)"
    " WHERE population IS NOT NULL",
    "CREATE INDEX figure_topics_figure_idx ON figure_topics (owner_type, owner_id, index)",
    "CREATE INDEX figure_topics_during_idx ON figure_topics USING gist (topic, during)",
    "ANALYZE figures",
    "ANALYZE figure_topics",
)
_FORMER_TABLE = (
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
)


def _fill(record_type: defining.RecordType) -> str:
    assert record_type.follower is not None  # noqa: S101 - for the type checker
    rows = f"(SELECT r.* FROM {record_type.table} AS r WHERE r.deleted_at IS NULL) AS n"
    return record_type.follower.fill.replace("new_rows AS n", rows)


def upgrade() -> None:
    """Make the table anew, and fill it from the records."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        "CREATE EXTENSION IF NOT EXISTS btree_gist",
        _LOCK,
        _DROP,
        *_TABLE,
        *(_fill(each) for each in (CLAIMS_16, DENIALS_16)),
        *_INDEXES,
        *(
            statement
            for each in (CLAIMS_16, DENIALS_16)
            for statement in derive.replace_functions(each, derive.ACTOR_6)
        ),
    ):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Make the former table, and fill it from the claims."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        _LOCK,
        "DROP TABLE figure_topics, figures",
        *_FORMER_TABLE,
        _fill(CLAIMS_12),
        *(
            statement
            for each in (CLAIMS_12, DENIALS_15)
            for statement in derive.replace_functions(each, derive.ACTOR_6)
        ),
        "DROP EXTENSION btree_gist",
    ):
        op.get_bind().exec_driver_sql(statement)
