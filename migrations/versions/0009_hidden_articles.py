"""Hide claims and denials while an article in which they appear is hidden.

Revision ID: 0009
Revises: 0008

The words of a record's appearances are those of its articles. Beside its own class, the visibility of
a claim or denial therefore has a bit that says whether one of its articles is hidden. The record's
own trigger sets the bit; it locks the articles first, so that none of them is hidden or revealed
meanwhile. When an article is hidden or revealed, `follow_articles` writes the records that appear in
it, in the same transaction. Revisions keep the articles of their time, and no bit: what the articles
are at the time of reading decides. The records that this migration hides get a version and an event.

The trigger functions also join the rows before and after an update so that a statement which changes
thousands of rows takes no more than its share for each.
"""

from alembic import op

from migrations import defining, derive
from migrations.record_types import ARTICLES_9, RECORD_TYPES_7, RECORD_TYPES_9

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PRINTED = tuple(each for each in RECORD_TYPES_9 if each.printed)
TABLES = (*(each.table for each in PRINTED), "revisions")
BATCH = 500

# The caller's transaction keeps the locks: until it ends, the articles stay as they are.
_ARTICLES_HIDDEN = f"""
    CREATE FUNCTION articles_hidden(ids uuid[]) RETURNS boolean
    LANGUAGE plpgsql VOLATILE{defining.SETTINGS_9} AS $$
    BEGIN
        IF cardinality(ids) = 0 THEN
            RETURN false;
        END IF;
        RETURN coalesce(bool_or(locked.hidden), false) FROM (
            SELECT a.visibility > 0 AS hidden FROM articles AS a
            WHERE a.id = ANY(ids)
            ORDER BY a.id
            FOR SHARE
        ) AS locked;
    END
    $$
    """

_FOLLOW_TABLE = f"""
        owners := ARRAY(
            SELECT DISTINCT l.owner_id FROM links AS l
            WHERE l.article_id = ANY(ids) AND l.owner_type = '{{type}}' AND l.link = 'appearance'
            ORDER BY l.owner_id
        );
        FOR place IN 1 .. cardinality(owners) BY {BATCH} LOOP
            batch := owners[place : place + {BATCH - 1}];
            PERFORM FROM {{table}} AS t WHERE t.id = ANY(batch) ORDER BY t.id FOR NO KEY UPDATE;
            UPDATE {{table}} AS t
            SET visibility = t.visibility # {defining.HIDDEN}, -- the trigger looks which it is
                actor = 'system', actor_scope = NULL, actor_request_id = NULL, actor_route = NULL
            WHERE t.id = ANY(batch) AND t.deleted_at IS NULL;
        END LOOP;"""

# Nobody can add a record to these articles meanwhile, since their rows are locked.
_FOLLOW_ARTICLES = f"""
    CREATE FUNCTION follow_articles(ids uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE{defining.SETTINGS_9} AS $$
    DECLARE
        owners uuid[];
        batch uuid[];
    BEGIN
        IF cardinality(ids) = 0 THEN
            RETURN;
        END IF;{"".join(_FOLLOW_TABLE.format(type=each.type, table=each.table) for each in PRINTED)}
    END
    $$
    """

_FILL = """
    UPDATE {table} SET article_ids = ARRAY(
        SELECT DISTINCT a.article_id FROM json_to_recordset(appearances) AS a(article_id uuid)
        ORDER BY a.article_id
    )"""
_FILL_REVISIONS = """
    UPDATE revisions AS r SET article_ids = ARRAY(
        SELECT DISTINCT a.article_id
        FROM json_to_recordset(convert_from(r.doc, 'UTF8')::json -> 'appearances')
            AS a(article_id uuid)
        ORDER BY a.article_id
    )
    WHERE r.record_type IN ('claim', 'denial') AND r.doc IS NOT NULL"""


def upgrade() -> None:
    """Add the articles of records and revisions, and hide what appears in hidden ones."""
    # A transaction of its own: it keeps reads out, and only for a moment.
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        for table in TABLES:
            op.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS article_ids uuid[]")
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        *(f"ALTER TABLE {each.table} DISABLE TRIGGER USER" for each in PRINTED),
        *(_FILL.format(table=each.table) for each in PRINTED),
        _FILL_REVISIONS,
        *(f"ALTER TABLE {each.table} ENABLE TRIGGER USER" for each in PRINTED),
        _ARTICLES_HIDDEN,
        _FOLLOW_ARTICLES,
        *(
            statement
            for each in RECORD_TYPES_9
            for statement in derive.replace_functions(each, derive.ACTOR_6)
        ),
        f"SELECT follow_articles(ARRAY(SELECT id FROM {ARTICLES_9.table} WHERE visibility > 0))",
    ):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Show again what was hidden, with an event, and take the articles of records away."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    before = [derive.replace_functions(each, derive.ACTOR_6)[0] for each in RECORD_TYPES_7]
    for statement in (
        *before,
        # The former trigger derives the class without the bit, so that these rows differ.
        *(
            f"UPDATE {each.table} SET actor = 'system' WHERE visibility >= {defining.HIDDEN}"
            for each in PRINTED
        ),
        *(
            statement
            for each in RECORD_TYPES_7
            for statement in derive.replace_after_functions(each, derive.ACTOR_6)
        ),
        "DROP FUNCTION follow_articles",
        "DROP FUNCTION articles_hidden",
        *(f"ALTER TABLE {table} DROP COLUMN article_ids" for table in TABLES),
    ):
        op.get_bind().exec_driver_sql(statement)
