"""Keep the pairs of sources that may be the same, which a step in the background finds.

Revision ID: 0027
Revises: 0026

`api/matching/pairing.py` fills the tables, so that no write pays for it. A pair has the two names
that are alike, as they stand in `source_names`, and why. `classes` has the bits of the visibility
classes of the two sources, so that a reader's pairs are found by an index. All of it can be made
anew from the records; there are no foreign keys, which writes of sources would wait for.
"""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_UPGRADE = (
    """
    CREATE TABLE duplicate_pairs (
        source_id uuid NOT NULL,
        other_id uuid NOT NULL,
        score float8 NOT NULL,
        classes smallint NOT NULL,
        source_name text NOT NULL,
        other_name text NOT NULL,
        words json NOT NULL,
        CONSTRAINT duplicate_pairs_pkey PRIMARY KEY (source_id, other_id),
        CONSTRAINT duplicate_pairs_order_check CHECK (source_id < other_id)
    )
    """,
    "CREATE INDEX duplicate_pairs_other_id_idx ON duplicate_pairs (other_id)",
    "CREATE INDEX duplicate_pairs_score_idx"
    " ON duplicate_pairs (classes, score, source_id, other_id)",
    # How far the search is: the changes up to `seq` were followed. `after_id` is the source after
    # which the comparison of all sources goes on, null once all are compared; it began at
    # `began_at`, when so many public `records` were counted.
    """
    CREATE TABLE duplicate_progress (
        single boolean DEFAULT true
            CONSTRAINT duplicate_progress_pkey PRIMARY KEY
            CONSTRAINT duplicate_progress_single_check CHECK (single),
        seq bigint NOT NULL,
        after_id uuid,
        records bigint NOT NULL,
        began_at timestamptz NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Create the tables. They are filled in the background."""
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables, which hold nothing that is not in the records."""
    for table in ("duplicate_progress", "duplicate_pairs"):
        op.execute(f"DROP TABLE {table}")
