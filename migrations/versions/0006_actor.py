"""Keep what is known of a writer in four columns, instead of one text with tabs.

Revision ID: 0006
Revises: 0005

`actor` was the id of the key that wrote a record, then, behind tabs, the scope that allowed it, the
request's id and the route. Now `actor` is the key's id alone, or the name that a write by psql
gives, and the rest stands in columns of its own: in the table of each record type, and in
`revisions`, from which the audit log is written. Processes of an older version must be stopped
before: they would write the text with tabs into `actor`.
"""

from alembic import op

from migrations import derive
from migrations.record_types import RECORD_TYPES

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = (*(each.table for each in RECORD_TYPES), "revisions")
ADDED = derive.ACTOR_6[1:]
_LOGGED = "key_id, scope, request_id, route, record_type, record_id, version, op"

_SPLIT = r"""
    UPDATE {table}
    SET actor = split_part(actor, E'\t', 1),
        actor_scope = nullif(split_part(actor, E'\t', 2), ''),
        actor_request_id = nullif(split_part(actor, E'\t', 3), ''),
        actor_route = nullif(split_part(actor, E'\t', 4), '')
    WHERE strpos(actor, E'\t') > 0"""
_JOIN = r"""
    UPDATE {table}
    SET actor = concat_ws(
        E'\t', coalesce(actor, ''), coalesce(actor_scope, ''), coalesce(actor_request_id, ''),
        coalesce(actor_route, '')
    )
    WHERE num_nonnulls(actor_scope, actor_request_id, actor_route) > 0"""

# Every change of a record passes here, in its own transaction.
_AUDITED_REVISIONS = f"""
    CREATE OR REPLACE FUNCTION revisions_audited() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO audit ({_LOGGED})
        SELECT {{actor}}, n.record_type, n.record_id::text, n.version, n.op
        FROM new_rows AS n
        ORDER BY n.at;
        RETURN NULL;
    END
    $$
    """
# For changes of things without revisions, to be called in their RETURNING. The actor is an array of
# the four; the function of 0002, whose actor is one text, stays for processes that still call it.
_AUDITED = f"""
    CREATE FUNCTION audited(actor text[], record_type text, record_id text, op text)
    RETURNS bigint LANGUAGE sql VOLATILE AS $$
        INSERT INTO audit ({_LOGGED})
        SELECT {{actor}}, record_type, record_id, NULL, op
        RETURNING id
    $$
    """


def _parts_of(text: str) -> str:
    """Take the text with tabs apart, as before this migration."""
    return ", ".join(rf"nullif(split_part({text}, E'\t', {place}), '')" for place in range(1, 5))


def _rewrite(statement: str) -> list[str]:
    """Change rows as they are: that makes no version, no revision and no event.

    Writes by others wait meanwhile; reads go on.
    """
    return [
        *(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in TABLES),
        *(statement.format(table=table) for table in TABLES),
        *(f"ALTER TABLE {table} ENABLE TRIGGER USER" for table in TABLES),
    ]


def upgrade() -> None:
    """Add the columns, fill them, and let the functions write them."""
    # A transaction of its own: it keeps reads out, and only for a moment.
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        for table in TABLES:
            columns = ", ".join(f"ADD COLUMN IF NOT EXISTS {name} text" for name in ADDED)
            op.execute(f"ALTER TABLE {table} {columns}")
    op.execute("SET LOCAL lock_timeout = '5s'")
    named = ", ".join(["nullif(n.actor, '')", *(f"n.{name}" for name in ADDED)])
    passed = ", ".join(f"nullif(actor[{place}], '')" for place in range(1, 5))
    for statement in (
        *_rewrite(_SPLIT),
        *(
            statement
            for each in RECORD_TYPES
            for statement in derive.replace_after_functions(each, derive.ACTOR_6)
        ),
        _AUDITED_REVISIONS.format(actor=named),
        _AUDITED.format(actor=passed),
    ):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Join the columns to one text again."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        *_rewrite(_JOIN),
        *(statement for each in RECORD_TYPES for statement in derive.replace_after_functions(each)),
        _AUDITED_REVISIONS.format(actor=_parts_of("n.actor")),
        "DROP FUNCTION audited(text[], text, text, text)",
        *(
            f"ALTER TABLE {table} " + ", ".join(f"DROP COLUMN {name}" for name in ADDED)
            for table in TABLES
        ),
    ):
        op.get_bind().exec_driver_sql(statement)
