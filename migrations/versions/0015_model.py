"""Add posts, credits, derived headlines, coordinates, and relations between sources.

Revision ID: 0015
Revises: 0014

Articles have a kind and credits, and need no headline: one is derived from the text or the URL.
Places have coordinates, denials have figures, sources have relations, and `supports` is a family of
denials. Every document has the new properties, those of history too; that makes no version and no
event. (`DOCUMENT_FORMAT` is 2 from here on, so every ETag is another one.)
"""

from alembic import op

from migrations import derive
from migrations.record_types import (
    ARTICLES_12,
    ARTICLES_15,
    CLAIMS_12,
    DENIALS_12,
    DENIALS_15,
    SOURCES_12,
    SOURCES_15,
)

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_CHANGED = ((SOURCES_12, SOURCES_15), (ARTICLES_12, ARTICLES_15), (DENIALS_12, DENIALS_15))

# The first words of the text, at most 100 characters, or the URL.
# Spaces in any locale: without it, Postgres knows those of ASCII alone.
_SPACES = r"\s\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000"
_DERIVED_HEADLINE = rf"""
    CREATE FUNCTION derived_headline(text text, url text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT coalesce(
            CASE
                WHEN length(words) <= 100 THEN nullif(words, '')
                ELSE coalesce(substring(left(words, 101) FROM '^(.*\S) '), left(words, 100))
            END,
            url
        )
        FROM (
            SELECT btrim(regexp_replace(
                substr(text, regexp_instr(text, '[^{_SPACES}]'), 1000), '[{_SPACES}]+', ' ', 'g'
            ))
        ) AS first(words)
    $$
    """

_FAMILIES = {
    "denies": (
        "full_denial", "partial_denial", "disputes_figures", "disputes_responsibility",
        "denies_knowledge", "disowns_statement",
    ),
    "deflects": (
        "non_denial_denial", "disputes_characterisation", "justification", "counter_accusation",
        "source_attack", "demands_evidence",
    ),
    "declines": ("neither_confirms_nor_denies", "declined_to_comment"),
    "silent": ("did_not_respond", "could_not_be_reached", "omission"),
    "concedes": ("affirmation", "apology"),
    "supports": ("third_party_support", "third_party_confirmation"),
    "unspecified": ("unspecified",),
}  # fmt: skip
_NEW_KINDS = {
    "denials": ("kind", _FAMILIES["supports"]),
    "articles": ("relations", ("reply_to", "quotes", "reposts")),
}
"""The terms of columns that the version before does not know."""

_WITH_COORDINATES = """
    CREATE FUNCTION with_coordinates(places json) RETURNS json LANGUAGE sql IMMUTABLE AS $$
        SELECT ('[' || coalesce(string_agg(
            left(place.item::text, -1)
            || ',"latitude":null,"longitude":null,"precision":null,"uncertainty_m":null}',
            ',' ORDER BY place.number
        ), '') || ']')::json
        FROM json_array_elements(places) WITH ORDINALITY AS place(item, number)
    $$
    """
_WITHOUT_COORDINATES = """
    CREATE FUNCTION without_coordinates(places json) RETURNS json LANGUAGE sql IMMUTABLE AS $$
        SELECT ('[' || coalesce(string_agg(place.item, ',' ORDER BY place.number), '') || ']')::json
        FROM (
            SELECT each.number, '{' || string_agg(
                to_json(p.key)::text || ':' || p.value::text, ',' ORDER BY p.number
            ) || '}' AS item
            FROM json_array_elements(places) WITH ORDINALITY AS each(item, number)
            CROSS JOIN LATERAL json_each(each.item) WITH ORDINALITY AS p(key, value, number)
            WHERE p.key NOT IN ('latitude', 'longitude', 'precision', 'uncertainty_m')
            GROUP BY each.number
        ) AS place
    $$
    """
_SYMMETRIC = """
    CREATE UNIQUE INDEX links_symmetric_sources_key
        ON links (least(owner_id, source_id), greatest(owner_id, source_id), label)
        WHERE link = 'relation' AND owner_type = 'source'
            AND label IN ('possibly_same_as', 'distinct_from')
    """


def _denial_family(families: tuple[str, ...]) -> str:
    cases = " ".join(
        f"WHEN kind IN ({', '.join(repr(kind) for kind in _FAMILIES[family])}) THEN '{family}'"
        for family in families
    )
    return f"""
    CREATE OR REPLACE FUNCTION denial_family(kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE {cases} END
    $$
    """


def _refuse_new_terms() -> list[str]:
    """Refuse to go back while records have terms that the version before can't read."""
    return [
        f"""
    DO $$
    BEGIN
        IF EXISTS (SELECT FROM {table} WHERE {column}::text ~ '{"|".join(terms)}') THEN
            RAISE EXCEPTION 'some {table} have terms in `{column}` that version 0014 does not know'
                USING HINT = 'Change these records first: {", ".join(terms)}.';
        END IF;
    END
    $$
    """
        for table, (column, terms) in _NEW_KINDS.items()
    ]


def upgrade() -> None:
    """Add the columns, and their values to every document."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    statements = [
        _DERIVED_HEADLINE,
        _denial_family(tuple(_FAMILIES)),
        *(
            statement
            for before, after in _CHANGED
            for statement in derive.add_columns(before, after, derive.ACTOR_6)
        ),
        _SYMMETRIC,
        _WITH_COORDINATES,
        *derive.change_items(CLAIMS_12, "places", "with_coordinates"),
        "DROP FUNCTION with_coordinates",
    ]
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop the columns, and their values from every document; derived headlines stay."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    statements = [
        *_refuse_new_terms(),
        _WITHOUT_COORDINATES,
        *derive.change_items(CLAIMS_12, "places", "without_coordinates"),
        "DROP FUNCTION without_coordinates",
        "DROP INDEX links_symmetric_sources_key",
        "DELETE FROM links WHERE (owner_type, link) IN (('article', 'credit'), ('source', 'relation'))",
        *(
            statement
            for before, after in _CHANGED
            for statement in derive.drop_columns(before, after, derive.ACTOR_6)
        ),
        _denial_family(tuple(family for family in _FAMILIES if family != "supports")),
        "DROP FUNCTION derived_headline",
    ]
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)
