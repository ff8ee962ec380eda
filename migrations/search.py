"""The SQL of search since 0012: how a text and a query become words, whatever the locale.

The parser of Postgres asks the database's locale which characters are letters. With the locale C it
takes every character outside ASCII for one, so that a curly quote becomes a part of the word beside
it. So punctuation becomes spaces before the parser sees the text.

Texts in scripts without spaces between words are found by parts of them: a run of such characters
becomes its pairs and its last character, 東京都 becomes 東京 京都 都. Korean has spaces, but also
endings; so it is treated alike.
"""

from __future__ import annotations

from typing import Final

from migrations.defining import PATH_7, RecordType

# Ranges for regular expressions, made with Python 3.11's `unicodedata` (Unicode 14): all
# punctuation, symbols, separators and control characters but the space; also superscript and
# circled numbers, and letters that serve as apostrophes. Characters that Unicode 14 does not have are as the ones
# around them.
_SEPARATORS: Final = (
    r"\u0001-\u001f\u0021-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00ac\u00ae-\u00b4"
    r"\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u02b9-\u02bf\u02c2-\u02c5\u02d2-\u02df\u02e5-\u02eb"
    r"\u02ed\u02ef-\u02ff\u0375\u037e\u0384-\u0385\u0387\u03f6\u0482\u055a-\u055f\u0589-\u058f"
    r"\u05be\u05c0\u05c3\u05c6\u05f3-\u060f\u061b\u061d-\u061f\u066a-\u066d\u06d4\u06dd-\u06de"
    r"\u06e9\u06fd-\u06fe\u0700-\u070f\u07f6-\u07f9\u07fe-\u07ff\u0830-\u083e\u085e\u0888"
    r"\u0890-\u0891\u08e2\u0964-\u0965\u0970\u09f2-\u09fb\u09fd\u0a76\u0af0-\u0af1\u0b70"
    r"\u0b72-\u0b77\u0bf0-\u0bfa\u0c77-\u0c7f\u0c84\u0d4f\u0d58-\u0d5e\u0d70-\u0d79\u0df4\u0e3f"
    r"\u0e4f\u0e5a-\u0e5b\u0f01-\u0f17\u0f1a-\u0f1f\u0f2a-\u0f34\u0f36\u0f38\u0f3a-\u0f3d\u0f85"
    r"\u0fbe-\u0fc5\u0fc7-\u0fda\u104a-\u104f\u109e-\u109f\u10fb\u1360-\u137c\u1390-\u1399\u1400"
    r"\u166d-\u166e\u1680\u169b-\u169c\u16eb-\u16ed\u1735-\u1736\u17d4-\u17d6\u17d8-\u17db"
    r"\u17f0-\u180a\u1940-\u1945\u19da-\u19ff\u1a1e-\u1a1f\u1aa0-\u1aa6\u1aa8-\u1aad\u1b5a-\u1b6a"
    r"\u1b74-\u1b7e\u1bfc-\u1bff\u1c3b-\u1c3f\u1c7e-\u1c7f\u1cc0-\u1cc7\u1cd3\u1fbd\u1fbf-\u1fc1"
    r"\u1fcd-\u1fcf\u1fdd-\u1fdf\u1fed-\u1fef\u1ffd-\u200b\u2010-\u2029\u202f-\u205f\u2070"
    r"\u2074-\u207e\u2080-\u208e\u20a0-\u20c0\u2100-\u2101\u2103-\u2106\u2108-\u2109\u2114"
    r"\u2116-\u2118\u211e-\u2123\u2125\u2127\u2129\u212e\u213a-\u213b\u2140-\u2144\u214a-\u214d"
    r"\u214f-\u215f\u2189-\u2bff\u2ce5-\u2cea\u2cf9-\u2cff\u2d70\u2e00-\u2e2e\u2e30-\u3004"
    r"\u3008-\u3020\u3030\u3036-\u3037\u303d-\u303f\u309b-\u309c\u30a0\u30fb\u3190-\u319f"
    r"\u31c0-\u31e3\u3200-\u33ff\u4dc0-\u4dff\ua490-\ua4c6\ua4fe-\ua4ff\ua60d-\ua60f\ua673\ua67e"
    r"\ua6f2-\ua716\ua720-\ua721\ua789-\ua78a\ua828-\ua82b\ua830-\ua839\ua874-\ua877\ua8ce-\ua8cf"
    r"\ua8f8-\ua8fa\ua8fc\ua92e-\ua92f\ua95f\ua9c1-\ua9cd\ua9de-\ua9df\uaa5c-\uaa5f\uaa77-\uaa79"
    r"\uaade-\uaadf\uaaf0-\uaaf1\uab5b\uab6a-\uab6b\uabeb\ue000-\uf8ff\ufb29\ufbb2-\ufbc2"
    r"\ufd3e-\ufd4f\ufdcf\ufdfc-\ufdff\ufe10-\ufe19\ufe30-\ufe6b\uff01-\uff0f\uff1a-\uff20"
    r"\uff3b-\uff40\uff5b-\uff65\uffe0-\ufffd\U00010100-\U0001013f\U00010175-\U000101fc"
    r"\U000102e1-\U000102fb\U00010320-\U00010323\U0001039f\U000103d0\U0001056f"
    r"\U00010857-\U0001085f\U00010877-\U0001087f\U000108a7-\U000108af\U000108fb-\U000108ff"
    r"\U00010916-\U0001091f\U0001093f\U000109bc-\U000109bd\U000109c0-\U000109ff"
    r"\U00010a40-\U00010a58\U00010a7d-\U00010a7f\U00010a9d-\U00010a9f\U00010ac8"
    r"\U00010aeb-\U00010af6\U00010b39-\U00010b3f\U00010b58-\U00010b5f\U00010b78-\U00010b7f"
    r"\U00010b99-\U00010baf\U00010cfa-\U00010cff\U00010e60-\U00010e7e\U00010ead"
    r"\U00010f1d-\U00010f26\U00010f51-\U00010f59\U00010f86-\U00010f89\U00010fc5-\U00010fcb"
    r"\U00012047-\U00012065\U000120bb-\U000120c1\U000120cd\U00012140-\U00012143"
    r"\U00012174-\U00012175\U000121c5-\U000121c8\U000121cd\U000121db\U000121dd-\U000121f4"
    r"\U00012238-\U0001223d\U000122a9\U0001244b-\U0001244f\U0001245a-\U0001245d\U000124c6"
    r"\U000125c1-\U000125d7\U00012641-\U00012643\U00012660-\U0001266c\U000126b9"
    r"\U0001273a-\U0001273f\U0001283b\U000128ea-\U000128f2\U00012944-\U00012946\U000129e2"
    r"\U00012a3f-\U00012a46\U00012a9a-\U00012a9c\U00012a9e-\U00012aa2\U00012c41-\U00012c45"
    r"\U00012c5a-\U00012c71\U00012ef7-\U00012ef8\U00012fc0-\U00012fff\U00012470-\U00012474"
    r"\U00012ff1-\U00012ff2\U00013430-\U00013438\U00016a6e-\U00016a6f\U00016af5"
    r"\U00016b37-\U00016b3f\U00016b44-\U00016b45\U00016b5b-\U00016b61\U00016e80-\U00016e9a"
    r"\U00016fe2\U0001bc9c\U0001bc9f-\U0001bca3\U0001cf50-\U0001d164\U0001d16a-\U0001d16c"
    r"\U0001d173-\U0001d17a\U0001d183-\U0001d184\U0001d18c-\U0001d1a9\U0001d1ae-\U0001d241"
    r"\U0001d245-\U0001d378\U0001d6c1\U0001d6db\U0001d6fb\U0001d715\U0001d735\U0001d74f\U0001d76f"
    r"\U0001d789\U0001d7a9\U0001d7c3\U0001d800-\U0001d9ff\U0001da37-\U0001da3a"
    r"\U0001da6d-\U0001da74\U0001da76-\U0001da83\U0001da85-\U0001da8b\U0001e14f\U0001e2ff"
    r"\U0001e8c7-\U0001e8cf\U0001e95e-\U0001ed3d\U0001eef0-\U0001fbca"
)
# Characters inside words that are not seen, such as the soft hyphen, and the Arabic stroke that
# makes words longer.
_UNSEEN: Final = (
    r"\u00ad\u034f\u061c\u0640\u180e\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
)
# Chinese, Japanese and Korean, Thai, Lao, Khmer and Burmese.
_UNSPACED: Final = (
    r"\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u1049\u1050-\u109f\u1100-\u11ff\u1780-\u17d3"
    r"\u3005-\u3007\u3041-\u3096\u3099-\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f"
    r"\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
_MAX_SEARCHED: Final = 200_000
"""More characters could make a tsvector of more than 1 MiB, which Postgres refuses."""

# A database with the locale C knows small letters in ASCII only, unless another collation helps.
TEXT_FUNCTION: Final = rf"""
    DO $do$
    DECLARE
        collation_name text;
    BEGIN
        IF lower('Ж') <> 'ж' THEN
            SELECT c.collname INTO collation_name FROM pg_collation AS c
            WHERE c.collname IN ('pg_c_utf8', 'und-x-icu', 'C.utf8')
                AND c.collencoding IN (-1, pg_char_to_encoding('UTF8'))
            ORDER BY array_position(ARRAY['pg_c_utf8', 'und-x-icu', 'C.utf8'], c.collname::text)
            LIMIT 1;
        END IF;
        EXECUTE replace($create$
    CREATE OR REPLACE FUNCTION search_text(words text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE{PATH_7} AS $$
    BEGIN
        words := left(words, {_MAX_SEARCHED});
        IF octet_length(words) > char_length(words) THEN -- not only ASCII
            words := regexp_replace(words, '[{_UNSEEN}]+', '', 'g');
            words := regexp_replace(words, '[{_SEPARATORS}]+', ' ', 'g');
            words := left(normalize(words, NFKC), {_MAX_SEARCHED});
            IF words ~ '[{_UNSPACED}]' THEN
                words := regexp_replace(words, '([{_UNSPACED}]+)', ' \1 ', 'g');
                words := regexp_replace(words, '(?<=[{_UNSPACED}])([{_UNSPACED}])', '\1 \1', 'g');
            END IF;
        ELSE
            words := regexp_replace(words, '[\u0001-\u001f\u0021-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u007f]+', ' ', 'g');
        END IF;
        RETURN left(lower(words :collation), {_MAX_SEARCHED});
    END
    $$
    $create$, ':collation', coalesce('COLLATE ' || quote_ident(collation_name), ''));
    END
    $do$
    """

# Words, “phrases”, `or`, `-word` and `word*`, and never an error: a word consists of what
# `search_text` leaves of it. What a mark inside a word separates is a phrase: wall-Mexico. Of the
# last run of characters without spaces the last character is left out, as the text can go on there.
QUERY_FUNCTION: Final = rf"""
    CREATE OR REPLACE FUNCTION search_query(words text) RETURNS tsquery
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE{PATH_7} AS $$
    DECLARE
        part text[];
        folded text;
        last_word text;
        is_prefix boolean;
        or_waits boolean := false;
        term tsquery;
        required tsquery;
        alternatives tsquery;
    BEGIN
        words := regexp_replace(words, '[\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02]', '"', 'g');
        words := regexp_replace(words, '[\u0001-\u001f\u00a0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u3000]', ' ', 'g');
        FOR part IN SELECT regexp_matches(words, '(-*)(?:"([^"]*)"?|([^" ]+))', 'g') LOOP
            IF lower(part[3]) = 'or' AND part[1] = '' AND required IS NOT NULL AND NOT or_waits THEN
                or_waits := true;
                CONTINUE;
            END IF;
            folded := btrim(search_text(coalesce(part[2], part[3])));
            IF folded = '' THEN
                CONTINUE;
            END IF;
            is_prefix := coalesce(part[2], part[3]) ~ '[^{_SEPARATORS} ]\*$';
            IF folded ~ '[{_UNSPACED}]{{2}} [{_UNSPACED}]$' THEN
                folded := left(folded, -2);
            ELSIF folded ~ '(^| )[{_UNSPACED}]$' THEN
                is_prefix := true;
            END IF;
            IF is_prefix THEN
                last_word := substring(folded FROM '[^ ]+$');
                term := phraseto_tsquery('claim_records', left(folded, -char_length(last_word)))
                    <-> to_tsquery('claim_records', quote_literal(last_word) || ':*');
            ELSE
                term := phraseto_tsquery('claim_records', folded);
            END IF;
            IF part[1] <> '' THEN
                term := !! term;
            END IF;
            IF or_waits THEN
                alternatives := coalesce(alternatives || required, required);
                required := term;
            ELSE
                required := coalesce(required && term, term);
            END IF;
            or_waits := false;
        END LOOP;
        IF or_waits THEN
            required := required && phraseto_tsquery('claim_records', 'or');
        END IF;
        RETURN coalesce(alternatives || required, required, ''::tsquery);
    END
    $$
    """


def column(text: str) -> str:
    """Define the column that the words of a text are searched in."""
    return f"""search tsvector GENERATED ALWAYS AS (
            to_tsvector(
                'claim_records'::regconfig,
                search_text({text})
            )
        ) STORED"""


def column_of(record_type: RecordType) -> str:
    """Give the definition of that column of a record type."""
    _, name, rest = record_type.kept.partition("search tsvector")
    definition, end, _ = rest.partition(" STORED")
    return f"{name}{definition}{end}"
