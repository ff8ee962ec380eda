"""Keep the words of public claims and sources with their frequencies, for matching.

Revision ID: 0026
Revises: 0024

A step in the background counts them (`api/matching/vocabulary.py`), so that no write pays for it.
`word` is as it stands in the column `search` of claims, and in names. `stem` is what a dictionary of
Postgres makes of a claim's word, or null for a stop word; `latin` is a name's word in Latin letters,
and `sound` what stays the same where it is spelt in another way. `pg_trgm`, which finds misspelt
words, comes with Postgres as `unaccent` does.
"""

from alembic import op

revision = "0026"
down_revision = "0024"
branch_labels = None
depends_on = None

_UPGRADE = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    """
    CREATE TABLE claim_words (
        word text COLLATE "C" NOT NULL,
        dictionary text COLLATE "C" NOT NULL,
        stem text COLLATE "C",
        records bigint NOT NULL,
        CONSTRAINT claim_words_pkey PRIMARY KEY (word, dictionary)
    )
    """,
    "CREATE INDEX claim_words_stem_idx ON claim_words (dictionary, stem)",
    "CREATE INDEX claim_words_alike_idx ON claim_words USING gin (word gin_trgm_ops)",
    """
    CREATE TABLE name_words (
        word text COLLATE "C" CONSTRAINT name_words_pkey PRIMARY KEY,
        records bigint NOT NULL,
        latin text COLLATE "C",
        sound text COLLATE "C"
    )
    """,
    "CREATE INDEX name_words_latin_idx ON name_words (latin)",
    "CREATE INDEX name_words_sound_idx ON name_words (sound)",
    "CREATE INDEX name_words_alike_idx ON name_words USING gin (latin gin_trgm_ops)",
    "CREATE INDEX name_words_unread_idx ON name_words (word) WHERE latin IS NULL",
    # How far the counts are: of the changes up to `seq`, as they were at `counted_at`.
    """
    CREATE TABLE word_counts (
        record_type text CONSTRAINT word_counts_pkey PRIMARY KEY,
        records bigint NOT NULL,
        words bigint NOT NULL,
        dictionaries text[] NOT NULL,
        seq bigint NOT NULL,
        counted_at timestamptz NOT NULL,
        seconds float8 NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Create the tables. They are filled in the background."""
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables, which hold nothing that is not in the records."""
    for table in ("word_counts", "name_words", "claim_words"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP EXTENSION pg_trgm")
