"""The language for SQL text: parameters, pieces, visibility, and what is left alone."""

from __future__ import annotations

import asyncpg
import pytest

from api.core.caller import EVERYTHING, NOBODY, READER, Caller
from api.core.sql import compose, render, rendered
from schemas.vocabularies import RecordType, Scope


def test_parameters_are_numbered_as_they_are_first_mentioned() -> None:
    text = "SELECT :b::text, :a, :b"
    assert render(text, a=1, b="x") == ("SELECT $1::text, $2, $1", "x", 1)


def test_the_order_of_the_values_means_nothing() -> None:
    text = "SELECT :first, :second, :third"
    assert render(text, third=3, first=1, second=2) == render(text, first=1, second=2, third=3)


def test_a_statement_without_parameters_stays_as_it_is() -> None:
    assert render("SELECT 1") == ("SELECT 1",)


@pytest.mark.parametrize("values", [{}, {"a": 1}, {"a": 1, "c": 2}, {"a": 1, "b": 2, "c": 3}])
def test_a_value_too_few_or_too_many_is_an_error(values: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="the statement takes"):
        render("SELECT :a, :b", **values)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT '{}'::text[], now()::date",
        "SELECT ':a', 'it''s :a', E'\\t:a', E'\\':a', e'\\\\' AS \":a\"",
        "SELECT $$ :a $$, $body$ :a $$ :a $body$",
        "SELECT 1 -- not :a\n",
        "SELECT 1 /* not :a\n nor :b */",
        "SELECT to_char(now(), 'HH24:MI:SS'), (ARRAY[1, 2])[1:2]",
        "SELECT ':sees(claim, t)'",
    ],
)
async def test_literals_casts_and_comments_are_left_alone(
    text: str, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    assert render(text) == (text,)
    await connection.fetch(*render(text))


async def test_a_query_runs(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    text = "SELECT :low::integer + :high::integer AS sum, 'a:b' || E'\\t' || :low::integer AS text"
    row = await connection.fetchrow(*render(text, high=40, low=2))
    assert row is not None
    assert (row["sum"], row["text"]) == (42, "a:b\t2")


def test_pieces_are_put_in_first_and_may_hold_parameters() -> None:
    text = compose(
        "SELECT {columns} FROM {table} AS t WHERE {condition} AND tags <> '{}'",
        columns="t.id, t.doc",
        table="claims",
        condition="t.kind = :kind::text AND :sees(claim, t)",
    )
    assert render(text, EVERYTHING, kind="fact") == (
        "SELECT t.id, t.doc FROM claims AS t WHERE t.kind = $1::text AND true AND tags <> '{}'",
        "fact",
    )


def test_a_piece_that_is_not_given_is_an_error() -> None:
    with pytest.raises(KeyError):
        compose("SELECT {columns}")


@pytest.mark.parametrize("type_", list(RecordType))
@pytest.mark.parametrize(
    "caller", [EVERYTHING, READER, NOBODY, Caller("key", frozenset({Scope.DRAFTS_READ}))]
)
def test_a_statement_is_rendered_for_what_its_caller_sees(
    type_: RecordType, caller: Caller
) -> None:
    text = f"SELECT FROM x AS t WHERE :sees({type_}, t) AND :sees({type_}, old_rows)"
    seen, seen_before = caller.sees(type_, "t"), caller.sees(type_, "old_rows")
    assert render(text, caller) == (f"SELECT FROM x AS t WHERE {seen} AND {seen_before}",)


def test_a_statement_that_says_for_whom_needs_a_caller() -> None:
    with pytest.raises(ValueError, match="caller"):
        render("SELECT FROM claims AS t WHERE :sees(claim, t)")


def test_a_numbered_parameter_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\$1"):
        render("SELECT $1, :a", a=1)


def test_two_keys_that_see_the_same_share_one_text() -> None:
    text = "SELECT FROM claims AS t WHERE t.id = :id AND :sees(claim, t)"
    one, other = (Caller(key, frozenset({Scope.READ})) for key in ("one", "other"))
    assert rendered(text, one) == rendered(text, other)
    assert rendered(text, one) is rendered(text, Caller("one", frozenset({Scope.READ})))
