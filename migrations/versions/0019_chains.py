"""Let groups of many records be counted without their lists and, if all are counted, without rows.

Revision ID: 0019
Revises: 0018

Three arrays in the row of a claim or a denial say which sources stand at position 0 of its chain,
which at the last one, and which anywhere: to count 10,000 claims by their claimants, Postgres spent
most of its time reading the list of attributions of each. The tables are written anew, with no
version and no event; they can't be read meanwhile. The indexes of terms also know who sees a record.
The statistics of links say how often each kind of link belongs to each type of record: for the links
of denials to what they answer, Postgres expected a twentieth of them.
"""

from alembic import op

from migrations import chains, derive
from migrations.record_types import CHAINED_19, CLAIMS_18, DENIALS_18

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TERMS = {
    "claims": (
        "certainty",
        "embedding",
        "kind",
        "polarity",
        "review_status",
        "speech_act",
        "validity",
    ),
    "denials": ("family", "kind", "observed_by", "review_status", "validity"),
}
STATISTICS = "links_kinds_stats"

# Which denials answer a claim, without a row of `links`. Only writes of denials fill it.
_ANSWERS = (
    "links_answers_idx",
    "links (claim_id, owner_id)"
    " WHERE link = 'target' AND owner_type = 'denial' AND claim_id IS NOT NULL",
)

# The tables are locked anyway.
_DROP_INDEX = """-- squawk-ignore require-concurrent-index-deletion
    DROP INDEX"""
_CREATE_INDEX = """-- squawk-ignore require-concurrent-index-creation
    CREATE INDEX"""

_HAS_CHAINS = f"""
    SELECT count(*) FROM pg_attribute
    WHERE attrelid = '{CHAINED_19[-1].table}'::regclass AND attname = '{chains.CHAIN[-1]}'"""


def upgrade() -> None:
    """Add the sources of chains, and make the indexes of terms anew.

    The tables are written anew in one transaction. What follows can be cut off; then this goes on
    behind that transaction.
    """
    op.execute("SET LOCAL lock_timeout = '5s'")
    if not op.get_bind().exec_driver_sql(_HAS_CHAINS).scalar():
        _add_chains()
    with op.get_context().autocommit_block():
        # To create an index so is to wait for all transactions that began before, such as those of
        # a backup. Nobody waits for it meanwhile, nor for VACUUM.
        op.execute("SET lock_timeout = 0")
        for statement in derive.create_concurrently(*_ANSWERS):
            op.execute(statement)
        op.execute("ANALYZE links")
        # No index could be read alone before.
        for each in CHAINED_19:
            op.execute(f"VACUUM (ANALYZE) {each.table}")


def _add_chains() -> None:
    for statement in (
        # Dropped first, or else they would be made anew twice.
        *(f"{_DROP_INDEX} {name}" for name in _indexes()),
        *chains.add_chains(CHAINED_19),
        *_indexes(" INCLUDE (visibility)").values(),
        *(s for each in CHAINED_19 for s in derive.replace_before_function(each)),
        f"CREATE STATISTICS {STATISTICS} (mcv) ON owner_type, link FROM links",
    ):
        op.get_bind().exec_driver_sql(statement)


def _indexes(more: str = "") -> dict[str, str]:
    """Give the statements that create the indexes of terms, by their names."""
    return {
        f"{table}_{column}_idx": f"{_CREATE_INDEX} {table}_{column}_idx"
        f" ON {table} ({column}, created_at, id){more} WHERE deleted_at IS NULL"
        for table, columns in TERMS.items()
        for column in columns
    }


def downgrade() -> None:
    """Drop the columns and the statistics, and make the former indexes."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        *(s for each in (CLAIMS_18, DENIALS_18) for s in derive.replace_before_function(each)),
        *(
            f"ALTER TABLE {each.table} DROP COLUMN {column}"
            for each in CHAINED_19
            for column in chains.CHAIN
        ),
        *(f"{_DROP_INDEX} {name}" for name in _indexes()),
        *_indexes().values(),
        f"DROP STATISTICS {STATISTICS}",
        f"{_DROP_INDEX} {_ANSWERS[0]}",
    ):
        op.get_bind().exec_driver_sql(statement)
