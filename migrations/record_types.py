"""The record types as the migrations know them.

The four below are as migration 0001 made them, and stay so. A migration that changes one derives
the new definition from the last one (`CLAIMS_7 = CLAIMS._replace(…)`), and one that adds a record
type adds its definition, both at the end of this file, where the next migration finds them.
"""

from __future__ import annotations

from typing import Final

from migrations import search
from migrations.defining import (
    EMBARGO,
    JOINED_9,
    LANGUAGE,
    PATH_7,
    REVIEWED,
    SETTINGS_9,
    Follower,
    RecordType,
    link_to,
    with_columns,
)

_NO_LINKS: Final = "NULL::uuid, NULL::uuid, NULL::uuid"

_ATTRIBUTIONS = """
        SELECT kind.link, hop.position, hop.is_origin, hop.role, kind.source_id,
               NULL::uuid, NULL::uuid, NULL::uuid
        FROM (
            SELECT coalesce(a.position, 0) AS position, a.role,
                   a.source_id, a.via_id, a.audience_id,
                   coalesce(a.position, 0) = max(coalesce(a.position, 0)) OVER () AS is_origin
            FROM json_to_recordset(:attributions) AS a(
                position integer, role text, source_id uuid, via_id uuid, audience_id uuid
            )
        ) AS hop
        CROSS JOIN LATERAL (
            VALUES ('attribution', hop.source_id), ('via', hop.via_id),
                   ('audience', hop.audience_id)
        ) AS kind(link, source_id)
        WHERE kind.source_id IS NOT NULL"""

_APPEARANCES = """
        SELECT 'appearance', NULL::integer, false, a.anchor, NULL::uuid, a.article_id,
               NULL::uuid, NULL::uuid
        FROM json_to_recordset(:appearances) AS a(article_id uuid, anchor text)"""

# The numbers of a figure. What `approaching` limits is not excluded, and a figure of vague words has
# no bounds.
_BOUNDS: Final = """
               CASE q.qualifier
                   WHEN 'exact' THEN q.value WHEN 'approximately' THEN q.value
                   WHEN 'at_most' THEN '-infinity' WHEN 'fewer_than' THEN '-infinity'
                   WHEN 'approaching' THEN '-infinity' WHEN 'vague' THEN NULL
                   ELSE q.lower
               END,
               CASE q.qualifier
                   WHEN 'exact' THEN q.value WHEN 'approximately' THEN q.value
                   WHEN 'at_least' THEN 'infinity' WHEN 'more_than' THEN 'infinity'
                   WHEN 'vague' THEN NULL
                   ELSE q.upper
               END,
               q.qualifier = 'more_than', q.qualifier = 'fewer_than'"""
_FIGURES = f"""
        INSERT INTO figures (claim_id, metric, lower, upper, lower_open, upper_open)
        SELECT n.id, q.metric,{_BOUNDS}
        FROM new_rows AS n
        CROSS JOIN LATERAL json_to_recordset(n.quantities) AS q(
            metric text, qualifier text, value float8, lower float8, upper float8
        )"""

_SOURCE_NAMES = """
        INSERT INTO source_names (source_id, name)
        SELECT n.id, fold(known.name)
        FROM new_rows AS n
        CROSS JOIN LATERAL (
            SELECT n.name WHERE n.name IS NOT NULL
            UNION
            SELECT item ->> 'name' FROM json_array_elements(n.names) AS item
        ) AS known(name)"""

SOURCES = RecordType(
    type="source",
    table="sources",
    columns="""
        kind text NOT NULL,
        identification text NOT NULL,
        name text,
        description text,
        names json NOT NULL DEFAULT '[]',
        roles json NOT NULL DEFAULT '[]',
        parent_id uuid,
        members json NOT NULL DEFAULT '[]',
        group_size json,
        country_code text,
        url text,
        confidentiality text NOT NULL DEFAULT 'public'""",
    computed="""
        merged_into_id uuid""",
    kept="""
        search tsvector GENERATED ALWAYS AS (
            to_tsvector(
                'claim_records'::regconfig,
                coalesce(name, '') || ' ' || names_text(names) || ' ' || coalesce(description, '')
            )
        ) STORED""",
    derive="",
    links=(
        link_to("parent", "source", "parent_id"),
        link_to("merged_into", "source", "merged_into_id"),
        f"""
        SELECT 'member', NULL::integer, false, m.role, m.source_id, {_NO_LINKS}
        FROM json_to_recordset(:members) AS m(source_id uuid, role text)""",
        f"""
        SELECT 'organisation', NULL::integer, false, NULL::text, r.organisation_id, {_NO_LINKS}
        FROM json_to_recordset(:roles) AS r(organisation_id uuid)
        WHERE r.organisation_id IS NOT NULL""",
    ),
    decides=("confidentiality",),
    visibility="CASE confidentiality WHEN 'public' THEN 0 WHEN 'internal' THEN 1 ELSE 2 END",
    indexes=(
        "CREATE INDEX sources_kind_idx ON sources (kind, created_at, id) WHERE deleted_at IS NULL",
        "CREATE INDEX sources_country_code_idx ON sources (country_code, created_at, id)"
        " WHERE deleted_at IS NULL",
        "CREATE INDEX sources_name_idx ON sources (name, id) WHERE deleted_at IS NULL",
        "CREATE INDEX sources_name_desc_idx ON sources (name DESC NULLS LAST, id DESC)"
        " WHERE deleted_at IS NULL",
    ),
    follower=Follower("source_names", "source_id", ("name", "names"), _SOURCE_NAMES),
)

ARTICLES = RecordType(
    type="article",
    table="articles",
    columns=f"""
        headline text NOT NULL,
        url text,
        publisher_id uuid,
        authors json NOT NULL DEFAULT '[]',
        {LANGUAGE},
        published json,
        dateline text,
        section text,
        text text,
        zones json NOT NULL DEFAULT '[]',
        status text NOT NULL DEFAULT 'usable',
        corrections json NOT NULL DEFAULT '[]',
        relations json NOT NULL DEFAULT '[]',
        archived_url text,
        embargoed_until timestamptz""",
    computed="""
        text_sha256 text,
        text_length integer""",
    # The index takes the first 100,000 characters: a tsvector ends at 1 MiB.
    kept="""
        published_from timestamptz GENERATED ALWAYS AS (time_from(published)) STORED,
        published_until timestamptz GENERATED ALWAYS AS (time_until(published)) STORED,
        search tsvector GENERATED ALWAYS AS (
            to_tsvector(
                'claim_records'::regconfig,
                headline || ' ' || coalesce(dateline, '') || ' ' || coalesce(section, '') || ' '
                || left(coalesce(text, ''), 100000)
            )
        ) STORED""",
    derive="""
    IF TG_OP = 'INSERT' OR NEW.text IS DISTINCT FROM OLD.text THEN
        NEW.text_sha256 := encode(sha256(convert_to(NEW.text, 'UTF8')), 'hex');
        NEW.text_length := char_length(NEW.text);
    END IF;""",
    links=(
        link_to("publisher", "source", "publisher_id"),
        f"""
        SELECT 'author', NULL::integer, false, NULL::text, a.source_id, {_NO_LINKS}
        FROM json_to_recordset(:authors) AS a(source_id uuid)
        WHERE a.source_id IS NOT NULL""",
        """
        SELECT 'relation', NULL::integer, false, r.kind, NULL::uuid, r.article_id,
               NULL::uuid, NULL::uuid
        FROM json_to_recordset(:relations) AS r(article_id uuid, kind text)""",
        """
        SELECT 'correction', NULL::integer, false, c.kind, NULL::uuid, NULL::uuid,
               touched.claim_id::uuid, NULL::uuid
        FROM json_to_recordset(:corrections) AS c(kind text, claim_ids json)
        CROSS JOIN LATERAL json_array_elements_text(c.claim_ids) AS touched(claim_id)""",
    ),
    decides=("status", EMBARGO),
    # That an article was retracted is for everybody to know.
    visibility="CASE WHEN status IN ('usable', 'retracted') THEN 0 ELSE 1 END",
    indexes=(
        "CREATE UNIQUE INDEX articles_url_key ON articles (url) WHERE deleted_at IS NULL",
        "CREATE INDEX articles_published_idx ON articles (published_from, id)"
        " WHERE deleted_at IS NULL",
        "CREATE INDEX articles_published_desc_idx"
        " ON articles (published_from DESC NULLS LAST, id DESC) WHERE deleted_at IS NULL",
    ),
)

CLAIMS = RecordType(
    type="claim",
    table="claims",
    columns=f"""
        text text NOT NULL,
        {LANGUAGE},
        kind text,
        speech_act text,
        certainty text NOT NULL DEFAULT 'unspecified',
        polarity text NOT NULL DEFAULT 'positive',
        embedding text NOT NULL DEFAULT 'asserted',
        parent_claim_id uuid,
        attributions json NOT NULL DEFAULT '[]',
        appearances json NOT NULL DEFAULT '[]',
        quantities json NOT NULL DEFAULT '[]',
        parties json NOT NULL DEFAULT '[]',
        places json NOT NULL DEFAULT '[]',
        stated json,
        occurred json,
        relations json NOT NULL DEFAULT '[]',
        validity text NOT NULL DEFAULT 'standing',
        review_status text NOT NULL DEFAULT 'draft',
        embargoed_until timestamptz,
        extraction json,
        assessments json NOT NULL DEFAULT '[]'""",
    computed="",
    kept="""
        stated_from timestamptz GENERATED ALWAYS AS (time_from(stated)) STORED,
        stated_until timestamptz GENERATED ALWAYS AS (time_until(stated)) STORED,
        occurred_from timestamptz GENERATED ALWAYS AS (time_from(occurred)) STORED,
        occurred_until timestamptz GENERATED ALWAYS AS (time_until(occurred)) STORED,
        search tsvector GENERATED ALWAYS AS (
            to_tsvector('claim_records'::regconfig, text || ' ' || coalesce(note, ''))
        ) STORED""",
    derive="",
    links=(
        _ATTRIBUTIONS,
        f"""
        SELECT 'party', NULL::integer, false, p.role, p.source_id, {_NO_LINKS}
        FROM json_to_recordset(:parties) AS p(role text, source_id uuid)""",
        _APPEARANCES,
        """
        SELECT 'relation', NULL::integer, false, r.kind, NULL::uuid, NULL::uuid,
               r.claim_id, NULL::uuid
        FROM json_to_recordset(:relations) AS r(kind text, claim_id uuid)""",
        """
        SELECT 'parent', NULL::integer, false, NULL::text, NULL::uuid, NULL::uuid,
               :parent_claim_id, NULL::uuid
        WHERE :parent_claim_id IS NOT NULL""",
    ),
    decides=("review_status", EMBARGO),
    visibility=REVIEWED,
    indexes=(
        "CREATE INDEX claims_kind_idx ON claims (kind, created_at, id) WHERE deleted_at IS NULL",
        "CREATE INDEX claims_review_status_idx ON claims (review_status, created_at, id)"
        " WHERE deleted_at IS NULL",
        "CREATE INDEX claims_stated_idx ON claims (stated_from, id) WHERE deleted_at IS NULL",
        "CREATE INDEX claims_stated_desc_idx ON claims (stated_from DESC NULLS LAST, id DESC)"
        " WHERE deleted_at IS NULL",
        "CREATE INDEX claims_occurred_idx ON claims (occurred_from)"
        " WHERE deleted_at IS NULL AND occurred_from IS NOT NULL",
    ),
    follower=Follower("figures", "claim_id", ("quantities",), _FIGURES),
)

DENIALS = RecordType(
    type="denial",
    table="denials",
    columns=f"""
        text text NOT NULL,
        {LANGUAGE},
        kind text NOT NULL,
        observed_by text NOT NULL,
        scope_source_id uuid,
        targets json NOT NULL,
        attributions json NOT NULL DEFAULT '[]',
        appearances json NOT NULL DEFAULT '[]',
        stated json,
        review_status text NOT NULL DEFAULT 'draft',
        embargoed_until timestamptz,
        extraction json,
        validity text NOT NULL DEFAULT 'standing',
        superseded_by_id uuid""",
    computed="""
        family text NOT NULL""",
    kept="""
        stated_from timestamptz GENERATED ALWAYS AS (time_from(stated)) STORED,
        stated_until timestamptz GENERATED ALWAYS AS (time_until(stated)) STORED,
        search tsvector GENERATED ALWAYS AS (
            to_tsvector('claim_records'::regconfig, text || ' ' || coalesce(note, ''))
        ) STORED""",
    derive="""
    NEW.family := denial_family(NEW.kind);""",
    links=(
        _ATTRIBUTIONS,
        _APPEARANCES,
        link_to("scope", "source", "scope_source_id"),
        """
        SELECT 'target', NULL::integer, false, t.coverage, NULL::uuid, t.article_id,
               t.claim_id, t.denial_id
        FROM json_to_recordset(:targets) AS t(
            coverage text, article_id uuid, claim_id uuid, denial_id uuid
        )
        WHERE num_nonnulls(t.article_id, t.claim_id, t.denial_id) = 1""",
        """
        SELECT 'superseded_by', NULL::integer, false, NULL::text, NULL::uuid, NULL::uuid,
               NULL::uuid, :superseded_by_id
        WHERE :superseded_by_id IS NOT NULL""",
    ),
    decides=("review_status", EMBARGO),
    visibility=REVIEWED,
    indexes=(
        "CREATE INDEX denials_kind_idx ON denials (kind, created_at, id) WHERE deleted_at IS NULL",
        "CREATE INDEX denials_review_status_idx ON denials (review_status, created_at, id)"
        " WHERE deleted_at IS NULL",
        "CREATE INDEX denials_stated_idx ON denials (stated_from, id) WHERE deleted_at IS NULL",
        "CREATE INDEX denials_stated_desc_idx ON denials (stated_from DESC NULLS LAST, id DESC)"
        " WHERE deleted_at IS NULL",
    ),
)

RECORD_TYPES: Final = (SOURCES, ARTICLES, CLAIMS, DENIALS)
"""As migration 0001 made them."""

SOURCES_7, ARTICLES_7, CLAIMS_7, DENIALS_7 = RECORD_TYPES_7 = tuple(
    each._replace(settings=PATH_7) for each in RECORD_TYPES
)
"""As migration 0007 made them: their trigger functions set the path on which they look for names."""

_ARTICLE_IDS: Final = """
        article_ids uuid[]"""
_LINEAR = [each._replace(joined=JOINED_9, settings=SETTINGS_9) for each in RECORD_TYPES_7]
SOURCES_9 = _LINEAR[0]
ARTICLES_9 = _LINEAR[1]._replace(prints=("claims", "denials"))
CLAIMS_9, DENIALS_9 = (
    each._replace(printed=True, kept=f"{each.kept},{_ARTICLE_IDS}") for each in _LINEAR[2:]
)
RECORD_TYPES_9: Final = (SOURCES_9, ARTICLES_9, CLAIMS_9, DENIALS_9)
"""As migration 0009 made them: claims and denials are hidden with the articles that print them."""

SOURCES_10 = SOURCES_9._replace(circles="n.parent_id IS NOT NULL OR n.members::text <> '[]'")
CLAIMS_10 = CLAIMS_9._replace(circles="n.parent_claim_id IS NOT NULL")
DENIALS_10 = DENIALS_9._replace(circles="n.superseded_by_id IS NOT NULL OR n.targets::text <> '[]'")
CIRCULAR_10: Final = (SOURCES_10, CLAIMS_10, DENIALS_10)
"""As migration 0010 made them: no chain of their links leads back to where it begins."""


def _searched(record_type: RecordType, text: str) -> RecordType:
    """Define a record type whose `search` has the words of a text, as 0012 takes words."""
    former = search.column_of(record_type)
    return record_type._replace(kept=record_type.kept.replace(former, search.column(text)))


SOURCES_12, ARTICLES_12, CLAIMS_12, DENIALS_12 = RECORD_TYPES_12 = (
    _searched(
        SOURCES_10,
        "coalesce(name, '') || ' ' || names_text(names) || ' ' || coalesce(description, '')",
    ),
    _searched(
        ARTICLES_9,
        "headline || ' ' || coalesce(dateline, '') || ' ' || coalesce(section, '') || ' '"
        " || left(coalesce(text, ''), 100000)",
    ),
    _searched(CLAIMS_10, "text || ' ' || coalesce(note, '')"),
    _searched(DENIALS_10, "text || ' ' || coalesce(note, '')"),
)
"""As migration 0012 made them: search does not depend on the locale."""

SOURCES_15: Final = with_columns(SOURCES_12, "relations json NOT NULL DEFAULT '[]'")._replace(
    links=(
        *SOURCES_12.links,
        f"""
        SELECT 'relation', NULL::integer, false, r.kind, r.source_id, {_NO_LINKS}
        FROM json_to_recordset(:relations) AS r(source_id uuid, kind text)""",
    )
)
ARTICLES_15: Final = with_columns(
    ARTICLES_12, "kind text NOT NULL DEFAULT 'unspecified'", "credits json NOT NULL DEFAULT '[]'"
)._replace(
    computed=f"""{ARTICLES_12.computed},
        headline_derived boolean NOT NULL DEFAULT false""",
    # A headline that was derived is derived anew, unless the write gives another one. It stays where
    # there is nothing left to derive one from.
    derive=f"""{ARTICLES_12.derive}
    IF TG_OP = 'UPDATE' AND OLD.headline_derived AND NEW.headline = OLD.headline THEN
        NEW.headline := NULL;
    END IF;
    NEW.headline_derived := NEW.headline IS NULL;
    IF NEW.headline_derived THEN
        NEW.headline := coalesce(derived_headline(NEW.text, NEW.url), OLD.headline);
    END IF;""",
    links=(
        *ARTICLES_12.links,
        f"""
        SELECT 'credit', NULL::integer, false, c.role, c.source_id, {_NO_LINKS}
        FROM json_to_recordset(:credits) AS c(source_id uuid, role text)""",
    ),
)
DENIALS_15: Final = with_columns(DENIALS_12, "quantities json NOT NULL DEFAULT '[]'")
"""As migration 0015 made them."""


def _figures(
    record_type: RecordType, during: str, places: str, also: tuple[str, ...] = ()
) -> Follower:
    """Keep the figures of a record, and for each the topics that it can be compared about.

    `during` gives the time that a figure without `as_of` is about, `places` selects the names and
    countries of the places at which it happened, and `also` names the columns of both.
    """
    return Follower(
        table="figures",
        owner=f"owner_type = '{record_type.type}' AND owner_id",
        columns=("quantities", *also),
        fill=f"""
        WITH filled AS (
            INSERT INTO figures (
                owner_type, owner_id, index, metric, unit, population, lower, upper, lower_open,
                upper_open, during, topics
            )
            SELECT '{record_type.type}', n.id, q.number - 1, q.metric, folded.unit,
                   folded.population,{_BOUNDS}, about.during,
                   ARRAY(
                       SELECT DISTINCT md5(
                           ROW(q.metric, folded.unit, folded.population, fold(p.name), p.country_code)
                               ::text
                       )::uuid
                       FROM ({places}) AS p(name, country_code)
                       WHERE about.during IS NOT NULL
                   )
            FROM new_rows AS n
            CROSS JOIN LATERAL ROWS FROM (json_to_recordset(n.quantities) AS (
                metric text, unit text, population text, qualifier text, value float8, lower float8,
                upper float8, as_of text
            )) WITH ORDINALITY AS q(
                metric, unit, population, qualifier, value, lower, upper, as_of, number
            )
            CROSS JOIN LATERAL (
                SELECT fold(q.unit), fold(q.population) OFFSET 0 -- or else each use folds anew
            ) AS folded(unit, population)
            CROSS JOIN LATERAL (
                SELECT CASE
                    WHEN q.as_of IS NOT NULL
                    THEN tstzrange(time_bound(q.as_of, false), time_bound(q.as_of, true)){during}
                END
            ) AS about(during)
            RETURNING owner_type, owner_id, index, during, topics
        )
        INSERT INTO figure_topics (owner_type, owner_id, index, topic, during)
        SELECT f.owner_type, f.owner_id, f.index, each.topic, f.during
        FROM filled AS f CROSS JOIN LATERAL unnest(f.topics) AS each(topic)""",
        by_array=True,
    )


CLAIMS_16: Final = CLAIMS_12._replace(
    follower=_figures(
        CLAIMS_12,
        # The bounds of a time are in order as they are written, and may not be as instants.
        during="""
                    WHEN n.occurred_from IS NOT NULL
                    THEN tstzrange(
                        least(n.occurred_from, n.occurred_until),
                        greatest(n.occurred_from, n.occurred_until)
                    )""",
        places="""
                           SELECT r.name, r.country_code
                           FROM json_to_recordset(n.places) AS r(
                               role text, name text, country_code text
                           )
                           WHERE r.role = 'event'
                       """,
        also=("occurred", "places"),
    )
)
DENIALS_16: Final = DENIALS_15._replace(
    follower=_figures(DENIALS_15, during="", places="SELECT NULL::text, NULL::text WHERE false")
)
"""As migration 0016 made them: the figures of denials are kept as well, with all that is asked of them."""

ARTICLES_17, CLAIMS_17, DENIALS_17 = EMBARGOED_17 = tuple(
    each._replace(by_both_clocks=True) for each in (ARTICLES_15, CLAIMS_16, DENIALS_16)
)
"""As migration 0017 made them: their class follows from both clocks."""

# Where an appearance comes in the reading order of its article: at its first content span, or else
# behind all of these, at the first of its other spans. It is null for spans that are lost.
_APPEARANCES_18: Final = """
        SELECT 'appearance', NULL::integer, false, a.anchor, NULL::uuid, a.article_id,
               NULL::uuid, NULL::uuid, a.quote_type, a.stance,
               CASE
                   WHEN a.anchor NOT IN ('orphaned', 'ambiguous') THEN (
                       SELECT coalesce(
                           min(s.start) FILTER (WHERE s.role = 'content'), 2147483648 + min(s.start)
                       )
                       FROM json_to_recordset(a.spans) AS s(role text, start bigint)
                   )
               END
        FROM json_to_recordset(:appearances) AS a(
            article_id uuid, anchor text, quote_type text, stance text, spans json
        )"""
LINK_COLUMNS_18: Final = ("quote_type text", "stance text", "reading_order bigint")
"""What the link of an appearance says beside its anchor, which is its label; null for others."""


def _detailed(record_type: RecordType) -> RecordType:
    """Define a record type whose links say how its appearances are printed."""
    return record_type._replace(
        links=tuple(query for query in record_type.links if query != _APPEARANCES),
        link_columns=LINK_COLUMNS_18,
        detailed_links=(_APPEARANCES_18,),
    )


PLACES_18: Final = Follower(
    "places",
    "claim_id",
    ("places",),
    """
        INSERT INTO places (claim_id, role, words, country_code, spot)
        SELECT n.id, p.role, to_tsvector('claim_records', search_text(p.name)), p.country_code,
               point(p.longitude, p.latitude)
        FROM new_rows AS n
        CROSS JOIN LATERAL json_to_recordset(n.places) AS p(
            role text, name text, country_code text, latitude float8, longitude float8
        )""",
    by_array=True,
)
ASSESSMENTS_18: Final = Follower(
    "assessments",
    "claim_id",
    ("assessments",),
    """
        INSERT INTO assessments (claim_id, assessor, label)
        SELECT n.id, fold(a.assessor), fold(a.label)
        FROM new_rows AS n
        CROSS JOIN LATERAL json_to_recordset(n.assessments) AS a(assessor text, label text)""",
    by_array=True,
)
CLAIMS_18: Final = _detailed(CLAIMS_17)._replace(more_followers=(PLACES_18, ASSESSMENTS_18))
DENIALS_18: Final = _detailed(DENIALS_17)
"""As migration 0018 made them: filters know each appearance, place and assessment."""

_CHAIN_19: Final = """
        first_source_ids uuid[],
        last_source_ids uuid[],
        source_ids uuid[]"""
CLAIMS_19, DENIALS_19 = CHAINED_19 = tuple(
    each._replace(chained=True, kept=f"{each.kept},{_CHAIN_19}") for each in (CLAIMS_18, DENIALS_18)
)
"""As migration 0019 made them: a row names the sources at both ends of its chain, and all of them."""

LINK_COLUMNS_20: Final = (*LINK_COLUMNS_18, "state text")
"""What the link of a claim says since 0020: that of a relation has its state."""
_RELATIONS: Final = """
        SELECT 'relation', NULL::integer, false, r.kind, NULL::uuid, NULL::uuid,
               r.claim_id, NULL::uuid"""
_RELATIONS_20: Final = f"""{_RELATIONS}, NULL::text, NULL::text, NULL::bigint, r.state
        FROM json_to_recordset(:relations) AS r(kind text, claim_id uuid, state text)"""
CLAIMS_20: Final = CLAIMS_19._replace(
    links=tuple(query for query in CLAIMS_19.links if not query.startswith(_RELATIONS)),
    link_columns=LINK_COLUMNS_20,
    detailed_links=(
        *(
            query.replace(
                """END
        FROM json_to_recordset(:appearances)""",
                """END, NULL::text
        FROM json_to_recordset(:appearances)""",
            )
            for query in CLAIMS_19.detailed_links
        ),
        _RELATIONS_20,
    ),
)
"""As migration 0020 made them: a relation is followed without reading the claim that states it."""

_NOT_MERGED: Final = ":merged_into_id IS NULL"


def _of_unmerged(query: str) -> str:
    """Let a merged source have no links of this kind."""
    if ":merged_into_id" in query:
        return query
    return f"{query} {'AND' if 'WHERE' in query else 'WHERE'} {_NOT_MERGED}"


_NAMES_28: Final = _SOURCE_NAMES.replace(
    ") AS known(name)", ") AS known(name)\n        WHERE n.merged_into_id IS NULL"
)
SOURCES_25: Final = SOURCES_15._replace(
    links=tuple(map(_of_unmerged, SOURCES_15.links)),
    follower=Follower("source_names", "source_id", ("name", "names", "merged_into_id"), _NAMES_28),
    merges=True,
)
"""As migration 0025 made them: a merged source only leads to its survivor."""

DIGEST_31: Final = "digest bytea GENERATED ALWAYS AS (sha256(doc)) STORED"
SOURCES_31, ARTICLES_31, CLAIMS_31, DENIALS_31 = RECORD_TYPES_31 = tuple(
    each._replace(kept=f"{each.kept},\n        {DIGEST_31}")
    for each in (SOURCES_25, ARTICLES_17, CLAIMS_20, DENIALS_19)
)
"""As migration 0031 made them: a row has the digest of its document, whoever writes the document."""
