"""SQL that counts the words of public records, and the dictionaries of Postgres by language."""

from __future__ import annotations

import datetime as dt
from typing import Final

from api.core.sql import compose

SIMPLE: Final = "simple"
"""The dictionary that takes each word as it is, for languages without one of their own."""
MAX_WORD: Final = 100
"""Longer words are not counted: they are no words."""

DICTIONARIES: Final = {
    "ar": "arabic_stem",
    "hy": "armenian_stem",
    "eu": "basque_stem",
    "ca": "catalan_stem",
    "da": "danish_stem",
    "nl": "dutch_stem",
    "en": "english_stem",
    "et": "estonian_stem",
    "fi": "finnish_stem",
    "fr": "french_stem",
    "de": "german_stem",
    "el": "greek_stem",
    "hi": "hindi_stem",
    "hu": "hungarian_stem",
    "id": "indonesian_stem",
    "ga": "irish_stem",
    "it": "italian_stem",
    "lt": "lithuanian_stem",
    "ne": "nepali_stem",
    "no": "norwegian_stem",
    "nb": "norwegian_stem",
    "nn": "norwegian_stem",
    "pt": "portuguese_stem",
    "ro": "romanian_stem",
    "ru": "russian_stem",
    "sr": "serbian_stem",
    "es": "spanish_stem",
    "sv": "swedish_stem",
    "ta": "tamil_stem",
    "tr": "turkish_stem",
    "yi": "yiddish_stem",
}
"""The dictionary of Postgres for a language, by the first subtag of its BCP 47 tag."""
UNDETERMINED: Final = frozenset({"und", "mul", "mis", "zxx", ""})
"""First subtags that name no language."""

INSTALLED: Final = (
    "SELECT dictname::text FROM pg_ts_dict WHERE dictnamespace = 'pg_catalog'::regnamespace"
)

# --- claims ------------------------------------------------------------------------------------

LANGUAGES: Final = """
    SELECT lower(split_part(language, '-', 1)) AS language,
        count(*) AS records, sum(length(search))::bigint AS words
    FROM claims
    WHERE deleted_at IS NULL AND visibility = 0
    GROUP BY 1
    ORDER BY 2 DESC, 1"""
# Postgres groups the words, and writes to disk what passes its `work_mem`. `ts_stat` would hold all
# of them in memory.
_COUNTED: Final = """
    SELECT u.word COLLATE "C" AS word, count(*) AS records
    FROM {claims} AS t
    CROSS JOIN LATERAL unnest(tsvector_to_array(t.search)) AS u(word)
    WHERE {which}
    GROUP BY 1"""
_OF_LANGUAGES: Final = (
    "deleted_at IS NULL AND visibility = 0"
    " AND lower(split_part(language, '-', 1)) = ANY(:languages::text[])"
)
_SAMPLE: Final = compose(
    "(SELECT search FROM claims WHERE {which} LIMIT 10000)", which=_OF_LANGUAGES
)
# Of the most frequent words of claims without a language, each dictionary knows some as stop words:
# the likeliest dictionary is the one that knows the most of them. Some of the claims tell it.
LIKELIEST: Final = compose(
    """
    WITH frequent AS MATERIALIZED (
        SELECT c.word, c.records FROM ({counted}) AS c
        ORDER BY c.records DESC, c.word
        LIMIT 300
    )
    SELECT d.dictionary
    FROM unnest(:dictionaries::text[]) WITH ORDINALITY AS d(dictionary, place)
    JOIN frequent AS f ON ts_lexize(d.dictionary::regdictionary, f.word) = '{}'
    GROUP BY d.dictionary, d.place
    ORDER BY sum(f.records) DESC, d.place
    LIMIT 1""",
    counted=compose(_COUNTED, claims=_SAMPLE, which="length(u.word) BETWEEN 2 AND 10"),
)
# Only what has changed is written, so that the table does not grow with each count.
COUNT_CLAIMS: Final = compose(
    """
    WITH counted AS MATERIALIZED ({counted}
    ), gone AS (
        DELETE FROM claim_words AS w
        WHERE w.dictionary = :dictionary::text
            AND NOT EXISTS (SELECT FROM counted AS c WHERE c.word = w.word)
    )
    INSERT INTO claim_words AS w (word, dictionary, stem, records)
    SELECT c.word, :dictionary, (ts_lexize(:dictionary::regdictionary, c.word))[1], c.records
    FROM counted AS c
    LEFT JOIN claim_words AS o ON o.word = c.word AND o.dictionary = :dictionary
    WHERE o.records IS DISTINCT FROM c.records
    ON CONFLICT (word, dictionary) DO UPDATE SET records = excluded.records""",
    counted=compose(
        _COUNTED, claims="claims", which=f"length(u.word) <= {MAX_WORD} AND {_OF_LANGUAGES}"
    ),
)
FORGET_CLAIMS: Final = "DELETE FROM claim_words WHERE dictionary <> ALL(:dictionaries::text[])"

# --- names of sources --------------------------------------------------------------------------

COUNT_NAMES: Final = """
    WITH counted AS MATERIALIZED (
        SELECT u.word COLLATE "C" AS word, count(DISTINCT n.source_id) AS records
        FROM source_names AS n
        JOIN sources AS s ON s.id = n.source_id AND s.deleted_at IS NULL AND s.visibility = 0
        CROSS JOIN LATERAL unnest(
            tsvector_to_array(to_tsvector('claim_records', search_text(n.name)))
        ) AS u(word)
        WHERE length(u.word) <= {max_word}
        GROUP BY 1
    ), gone AS (
        DELETE FROM name_words AS w
        WHERE NOT EXISTS (SELECT FROM counted AS c WHERE c.word = w.word)
    )
    INSERT INTO name_words AS w (word, records)
    SELECT c.word, c.records
    FROM counted AS c
    LEFT JOIN name_words AS o ON o.word = c.word
    WHERE o.records IS DISTINCT FROM c.records
    ON CONFLICT (word) DO UPDATE SET records = excluded.records"""
TOTAL_OF_NAMES: Final = """
    SELECT count(*) AS records, 0::bigint AS words FROM sources
    WHERE deleted_at IS NULL AND visibility = 0"""
UNREAD: Final = "SELECT word FROM name_words WHERE latin IS NULL ORDER BY word LIMIT {step}"
READ: Final = """
    UPDATE name_words AS w SET latin = r.latin, sound = r.sound
    FROM unnest(:words::text[], :latin::text[], :sounds::text[]) AS r(word, latin, sound)
    WHERE w.word = r.word"""

# --- both --------------------------------------------------------------------------------------

REST: Final = 20
"""After a count, none is taken for so many times the time that it took."""
STATE: Final = compose(
    """
    SELECT record_type, records, words, dictionaries, seq, counted_at,
        clock_timestamp() < counted_at + make_interval(secs => seconds * {rest}) AS rests
    FROM word_counts WHERE record_type = :record_type::text""",
    rest=f"{REST + 1}",
)
READ_ONLY: Final = "SELECT current_setting('transaction_read_only')::boolean"
NEWEST: Final = "SELECT seq FROM feed_states ORDER BY id DESC LIMIT 1"
CHANGED: Final = """
    SELECT EXISTS (
        SELECT FROM feed WHERE seq > :seq::bigint AND seq <= :newest::bigint
            AND record_type = :record_type::text
    )"""
KEEP: Final = """
    INSERT INTO word_counts (record_type, records, words, dictionaries, seq, counted_at, seconds)
    VALUES (:record_type::text, :records::bigint, :words::bigint, :dictionaries::text[],
            :seq::bigint, :counted_at::timestamptz, :seconds::float8)
    ON CONFLICT (record_type) DO UPDATE SET records = excluded.records, words = excluded.words,
        dictionaries = excluded.dictionaries, seq = excluded.seq,
        counted_at = excluded.counted_at, seconds = excluded.seconds"""
# Another process may have counted meanwhile: its position stays.
MOVE_ON: Final = """
    UPDATE word_counts SET seq = :newest::bigint
    WHERE record_type = :record_type::text AND seq = :seq::bigint"""
LOCK: Final = "SELECT pg_try_advisory_xact_lock({number})"
AGES: Final = """
    SELECT c.record_type, CASE
            WHEN EXISTS (
                SELECT FROM feed AS f WHERE f.seq > c.seq AND f.record_type = c.record_type
            ) THEN extract(epoch FROM clock_timestamp() - c.counted_at)::float8
            ELSE 0
        END AS seconds
    FROM word_counts AS c"""
NEVER: Final = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
"""As if the words had been counted then: all records have changed since."""
