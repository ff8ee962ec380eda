"""Search: words are found whatever stands beside them, whatever the script and the locale."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import uuid4

import asyncpg
import pytest

from api.server import schema
from schemas.vocabularies import RecordType
from tests.conftest import in_database
from tests.factories import EVERY, Client, Connection, Noun, create, unique

CLAIM = EVERY[RecordType.CLAIM]

TEXTS: Final = {
    "curly": "He said \u201cemails\u201d were Trump\u2019s, not \u2018theirs\u2019",
    "dashes": "A wall\u2014Mexico pays\u2013no way\u2026 hush\u2011hush",
    "guillemets": "Il a dit \u00abjamais\u00bb et \u2039peut-\u00eatre\u203a",
    "spaces": "One\u00a0hundred\u202fmillion\u2003killed\u3000today",
    "ascii": "Biden/Harris (2024): covid-19, 12.5% of 'losses'; see example.org/path_to/it",
    "arabic": "\u0642\u0627\u0644\u062a \u0643\u064a\u064a\u0641\u060c \u0625\u0646\u0647\u0627",
    "cyrillic": "\u00ab\u041c\u041e\u0421\u041a\u0412\u0410\u00bb"
    " \u0437\u0430\u044f\u0432\u0438\u043b\u0430",
    "korean": "\ubd81\ud55c\uc740 \uc804\uc0ac\uc790\uac00 \uc5c6\ub2e4\uace0 \ub9d0\ud588\ub2e4.",
    "chinese": "\u6211\u5728\u5317\u4eac\u5927\u5b66\u8bfb\u4e66\uff0c\u4ed6\u8bf4\u3002",
    "japanese": "\u6771\u4eac\u90fd\u306f\u300c\u5426\u5b9a\u300d\u3057\u305f\u3002"
    "AI\u6280\u8853\u9769\u65b0",
    "thai": "\u0e1b\u0e23\u0e30\u0e40\u0e17\u0e28\u0e44\u0e17\u0e22"
    "\u0e1b\u0e0f\u0e34\u0e40\u0e2a\u0e18",
    "soft": "inter\u00adnational \ufb01re",
}
ASKED: Final[Sequence[tuple[str, set[str]]]] = [
    ("emails", {"curly"}),
    ("\u201cemails\u201d", {"curly"}),
    ("Trump", {"curly"}),
    ("Trump's", {"curly"}),
    ("Trump\u2019s", {"curly"}),
    ("theirs", {"curly"}),
    ('"emails were trump"', {"curly"}),
    ("\u201cwere emails\u201d", set()),
    ("Mexico", {"dashes"}),
    ("wall-mexico", {"dashes"}),
    ("mexico-wall", set()),
    ("way", {"dashes"}),
    ("hush", {"dashes"}),
    ("jamais", {"guillemets"}),
    ("peut etre", {"guillemets"}),
    ("hundred million", {"spaces"}),
    ("hundred\u00a0today", {"spaces"}),
    ('"one hundred million killed today"', {"spaces"}),
    ("harris", {"ascii"}),
    ("losses", {"ascii"}),
    ("covid 19", {"ascii"}),
    ("12.5", {"ascii"}),
    ("12.6", set()),
    ("example.org", {"ascii"}),
    ("path", {"ascii"}),
    ("\u0643\u064a\u064a\u0641", {"arabic"}),
    ("\u0643\u064a\u064a\u0641\u060c", {"arabic"}),
    ("\u043c\u043e\u0441\u043a\u0432\u0430", {"cyrillic"}),
    ("\ubd81\ud55c", {"korean"}),
    ("\ud55c\uc740", {"korean"}),
    ("\uc804\uc0ac\uc790 \ubd81\ud55c", {"korean"}),
    ("\ub0a8\ud55c", set()),
    ("\u5317\u4eac", {"chinese"}),
    ("\u5317\u4eac\u5927\u5b66", {"chinese"}),
    ("\u5317\u5b66", set()),
    ("\u5927\u5b66\u5317\u4eac", set()),
    ("\u66f8\u4ed6", set()),
    ("\u4eac", {"chinese", "japanese"}),
    ("\u4e66", {"chinese"}),
    ("\u4eac -\u5927\u5b66", {"japanese"}),
    ("\u5426\u5b9a", {"japanese"}),
    ("\u6280\u8853", {"japanese"}),
    ("ai\u6280\u8853", {"japanese"}),
    ("ai \u9769\u65b0", {"japanese"}),
    ("\u0e44\u0e17\u0e22", {"thai"}),
    ("\u0e1b\u0e0f\u0e34\u0e40\u0e2a\u0e18", {"thai"}),
    ("\u0e1b\u0e0f\u0e34\u0e44\u0e17\u0e22", set()),
    ("international", {"soft"}),
    ("fire", {"soft"}),
    # Prefixes, alternatives and exclusions.
    ("mill*", {"spaces"}),
    ("mill", set()),
    ("hund* kill*", {"spaces"}),
    ("-mill* killed", set()),
    ("emai* or mex*", {"curly", "dashes"}),
    ('"were tru*"', {"curly"}),
    ("killed -emails or wall", {"spaces", "dashes"}),
    ("*", set()),
    ("mill:*", set()),
    ("mill *", set()),
]


@pytest.fixture(scope="module")
async def texts(client: Client) -> dict[str, str]:
    """Create a claim of each text; gives the names by id."""
    tag = unique()
    names = {"tag": tag}
    for name, text in TEXTS.items():
        record = await create(client, CLAIM, CLAIM.minimal(text=text, tags=[tag]))
        names[record.id] = name
    return names


async def found(client: Client, names: dict[str, str], words: str) -> set[str]:
    """Search; gives the names of the texts."""
    asked = {"q": words, "tag": names["tag"], "sort": "relevance"}
    response = await client.get(CLAIM.path, params=asked)
    assert response.status_code == 200, response.text
    return {names[item["id"]] for item in response.json()["items"]}


@pytest.mark.parametrize(("words", "expected"), ASKED)
async def test_words_are_found_whatever_stands_beside_them(
    client: Client, texts: dict[str, str], words: str, expected: set[str]
) -> None:
    assert await found(client, texts, words) == expected


async def test_every_type_is_searched_so(client: Client, noun: Noun) -> None:
    field = noun.resource.searched.split("`")[1]
    body = noun.minimal(**{field: "a \u201cquoted\u201d word, \u5317\u4eac\u5927\u5b66"})
    record = await create(client, noun, body)
    for words in ("quoted", "quot*", "\u5927\u5b66"):
        asked = {"q": words, "id__in": record.id}
        assert (await client.get(noun.path, params=asked)).json()["items"] == [record.record]


async def test_no_punctuation_hides_a_word(connection: Connection) -> None:
    """Every character of Unicode that is no letter, mark or digit separates words."""
    characters = [
        character
        for character in map(chr, range(1, 0x20000))
        if unicodedata.category(character)[0] in "PSZ"
    ]
    statement = """
        SELECT c FROM unnest($1::text[]) AS c
        WHERE NOT to_tsvector('claim_records', search_text('left' || c || 'right'))
            @@ search_query('left right')"""
    assert await connection.fetch(statement, characters) == []


async def test_a_text_of_any_characters_can_be_searched(connection: Connection) -> None:
    """A tsvector of more than 1 MiB would be an error."""
    many = "SELECT string_agg(chr($1 + i * 7919 % $2), '') FROM generate_series(1, 100000) AS i"
    for first, number in ((0x4E00, 20_000), (0x20000, 40_000), (0x0E01, 46), (0xFDFA, 1)):
        text = await connection.fetchval(many, first, number)
        vector = "SELECT length(to_tsvector('claim_records', search_text($1)))"
        assert await connection.fetchval(vector, text) > 0


# --- other locales, and texts that were there before ------------------------------------------


@pytest.fixture
async def in_c(template: str) -> AsyncIterator[str]:
    """Make a database whose locale is C, as it may be in one's own Postgres."""
    name = f"in_c_{uuid4().hex}"
    server = await asyncpg.connect(in_database(template, "postgres"))
    await server.execute(
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"
        " LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    try:
        yield in_database(template, name)
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


async def test_neither_the_locale_nor_the_age_of_a_database_makes_a_difference(in_c: str) -> None:
    await schema.migrate(in_c, "0011")
    connection = await asyncpg.connect(in_c)
    try:
        await connection.execute(
            "INSERT INTO claims (id, text, tags) SELECT gen_random_uuid(), u.text, ARRAY[u.name]"
            " FROM unnest($1::text[], $2::text[]) AS u(name, text)",
            list(TEXTS),
            list(TEXTS.values()),
        )
        before = "SELECT count(*) FROM claims WHERE search @@ to_tsquery('claim_records', 'emails')"
        assert await connection.fetchval(before) == 0
        await schema.migrate(in_c)
        statement = "SELECT tags[1] FROM claims WHERE search @@ search_query($1)"
        for words, expected in ASKED:
            rows = await connection.fetch(statement, words)
            assert {name for (name,) in rows} == expected, words
    finally:
        await connection.close()


@pytest.mark.skipif("DATABASE_URL" in os.environ, reason="the locale is the operator's choice")
async def test_the_embedded_postgres_knows_letters_beyond_ascii(connection: Connection) -> None:
    statement = "SELECT datctype FROM pg_database WHERE datname = current_database()"
    assert await connection.fetchval(statement) == "C.UTF-8"
    parsed = "SELECT count(*) FROM ts_parse('default', $1) WHERE tokid <> 12"
    assert await connection.fetchval(parsed, "\u201cemails\u201d") == 1
