"""Create the four records, their link index, their history and their outbox.

Revision ID: 0001
Revises: nothing

A row is a record: scalars are typed columns, value lists are `json` columns (which keep the order
and the spelling they were written with). A BEFORE trigger derives the version, the times and
`doc`, the published JSON. AFTER triggers, per statement, keep the link index, the revisions and
the outbox. A write by psql takes the same way as one by the service.
"""

from typing import NamedTuple

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


class Noun(NamedTuple):
    """One record type: what its table has beyond what every table has."""

    type: str
    table: str
    columns: str  # of the table and of the document alike, in the document's order
    computed: str  # columns that the trigger derives, published behind the others
    kept: str  # columns that serve filters and are not published
    derive: str  # PL/pgSQL that sets the computed columns
    links: str  # a query over NEW's columns, given as :name, for the link index
    decides: tuple[str, ...]  # the columns that decide on who may see it
    visibility: str  # its class by those columns, embargo aside
    indexes: tuple[str, ...] = ()


_EMBARGO = "embargoed_until"
_REVIEWED = "CASE WHEN review_status = 'published' THEN 0 ELSE 1 END"
_LANGUAGE = "language text NOT NULL DEFAULT 'und'"
_NO_LINKS = "NULL::uuid, NULL::uuid, NULL::uuid"


def _to_source(link: str, value: str) -> str:
    """Select a link from a column of this row to a source."""
    return f"""
        SELECT '{link}', NULL::integer, false, NULL::text, {value}, {_NO_LINKS}
        WHERE {value} IS NOT NULL"""


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

_UNION = "\n        UNION ALL"

SOURCES = Noun(
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
    links=_UNION.join(
        [
            _to_source("parent", ":parent_id"),
            _to_source("merged_into", ":merged_into_id"),
            f"""
        SELECT 'member', NULL::integer, false, m.role, m.source_id, {_NO_LINKS}
        FROM json_to_recordset(:members) AS m(source_id uuid, role text)""",
            f"""
        SELECT 'organisation', NULL::integer, false, NULL::text, r.organisation_id, {_NO_LINKS}
        FROM json_to_recordset(:roles) AS r(organisation_id uuid)
        WHERE r.organisation_id IS NOT NULL""",
        ]
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
)

ARTICLES = Noun(
    type="article",
    table="articles",
    columns=f"""
        headline text NOT NULL,
        url text,
        publisher_id uuid,
        authors json NOT NULL DEFAULT '[]',
        {_LANGUAGE},
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
    links=_UNION.join(
        [
            _to_source("publisher", ":publisher_id"),
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
        ]
    ),
    decides=("status", _EMBARGO),
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

CLAIMS = Noun(
    type="claim",
    table="claims",
    columns=f"""
        text text NOT NULL,
        {_LANGUAGE},
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
    links=_UNION.join(
        [
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
        ]
    ),
    decides=("review_status", _EMBARGO),
    visibility=_REVIEWED,
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
)

DENIALS = Noun(
    type="denial",
    table="denials",
    columns=f"""
        text text NOT NULL,
        {_LANGUAGE},
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
    links=_UNION.join(
        [
            _ATTRIBUTIONS,
            _APPEARANCES,
            _to_source("scope", ":scope_source_id"),
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
        ]
    ),
    decides=("review_status", _EMBARGO),
    visibility=_REVIEWED,
    indexes=(
        "CREATE INDEX denials_kind_idx ON denials (kind, created_at, id) WHERE deleted_at IS NULL",
        "CREATE INDEX denials_review_status_idx ON denials (review_status, created_at, id)"
        " WHERE deleted_at IS NULL",
        "CREATE INDEX denials_stated_idx ON denials (stated_from, id) WHERE deleted_at IS NULL",
        "CREATE INDEX denials_stated_desc_idx ON denials (stated_from DESC NULLS LAST, id DESC)"
        " WHERE deleted_at IS NULL",
    ),
)

NOUNS = (SOURCES, ARTICLES, CLAIMS, DENIALS)

_LAST = """
        external_ids json NOT NULL DEFAULT '[]',
        tags text[] NOT NULL DEFAULT '{}',
        note text"""

COMMON = (
    "CREATE EXTENSION IF NOT EXISTS unaccent",
    "CREATE TEXT SEARCH CONFIGURATION claim_records (COPY = simple)",
    """
    ALTER TEXT SEARCH CONFIGURATION claim_records
        ALTER MAPPING FOR hword, hword_part, word WITH unaccent, simple
    """,
    # An instant in UTC as RFC 3339 says it, whatever the session's time zone.
    """
    CREATE FUNCTION instant(at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
        SELECT to_char(at AT TIME ZONE 'UTC', CASE
            WHEN date_trunc('second', at) = at THEN 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
            ELSE 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
        END)
    $$
    """,
    # A record's published JSON: what the server knows of it, then its content.
    """
    CREATE FUNCTION document(
        id uuid, version integer, created_at timestamptz, updated_at timestamptz, content text
    ) RETURNS bytea LANGUAGE sql STABLE AS $$
        SELECT convert_to(
            '{"id":"' || id || '","version":' || version
            || ',"created_at":"' || to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            || '","updated_at":"' || to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            || '",' || substr(content, 2),
            'UTF8'
        )
    $$
    """,
    # A bound on the time line: a date at its start or end in UTC, an instant at itself or, as an
    # end, one microsecond on. Immutable in truth, since an instant carries its offset.
    """
    CREATE FUNCTION time_bound(bound text, at_end boolean) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT CASE
            WHEN strpos(bound, 'T') > 0
            THEN bound::timestamptz + CASE WHEN at_end THEN interval '1 microsecond' ELSE interval '0' END
            ELSE (bound::date + at_end::integer)::timestamp AT TIME ZONE 'UTC'
        END
    $$
    """,
    # A time with one bound counts as that bound. (The bodies name no object of ours but through
    # pg_catalog or inline, since a restored dump computes generated columns with an empty path.)
    """
    CREATE FUNCTION time_from(at json) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT CASE
            WHEN strpos(bound, 'T') > 0 THEN bound::timestamptz
            ELSE bound::date::timestamp AT TIME ZONE 'UTC'
        END
        FROM coalesce(at ->> 'earliest', at ->> 'latest') AS bound
    $$
    """,
    """
    CREATE FUNCTION time_until(at json) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT CASE
            WHEN strpos(bound, 'T') > 0 THEN bound::timestamptz + interval '1 microsecond'
            ELSE (bound::date + 1)::timestamp AT TIME ZONE 'UTC'
        END
        FROM coalesce(at ->> 'latest', at ->> 'earliest') AS bound
    $$
    """,
    """
    CREATE FUNCTION names_text(names json) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT coalesce(string_agg(item ->> 'name', ' '), '') FROM json_array_elements(names) AS item
    $$
    """,
    # A name as it is looked up: accents and case ignored.
    """
    CREATE FUNCTION fold(name text) RETURNS text LANGUAGE sql STABLE AS $$
        SELECT left(lower(unaccent(lower(name))), 500)
    $$
    """,
    """
    CREATE FUNCTION denial_family(kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE
            WHEN kind IN ('full_denial', 'partial_denial', 'disputes_figures',
                          'disputes_responsibility', 'denies_knowledge', 'disowns_statement')
            THEN 'denies'
            WHEN kind IN ('non_denial_denial', 'disputes_characterisation', 'justification',
                          'counter_accusation', 'source_attack', 'demands_evidence')
            THEN 'deflects'
            WHEN kind IN ('neither_confirms_nor_denies', 'declined_to_comment') THEN 'declines'
            WHEN kind IN ('did_not_respond', 'could_not_be_reached', 'omission') THEN 'silent'
            WHEN kind IN ('affirmation', 'apology') THEN 'concedes'
            WHEN kind = 'unspecified' THEN 'unspecified'
        END
    $$
    """,
    """
    CREATE TABLE revisions (
        record_type text NOT NULL,
        record_id uuid NOT NULL,
        version integer NOT NULL,
        op text NOT NULL,
        at timestamptz NOT NULL,
        actor text,
        visibility smallint NOT NULL,
        doc bytea,
        CONSTRAINT revisions_pkey PRIMARY KEY (record_type, record_id, version)
    )
    """,
    # What the change feed will be numbered from; the transaction's id says what has become visible,
    # the classes (before: null for a new record) for whom the record has come or gone.
    """
    CREATE TABLE outbox (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT outbox_pkey PRIMARY KEY,
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        record_type text NOT NULL,
        record_id uuid NOT NULL,
        version integer NOT NULL,
        op text NOT NULL,
        at timestamptz NOT NULL,
        visibility_before smallint,
        visibility_after smallint NOT NULL
    )
    """,
    # The names of records in other systems. A deleted record keeps its own.
    """
    CREATE TABLE external_ids (
        record_type text NOT NULL,
        namespace text NOT NULL,
        value text NOT NULL,
        record_id uuid NOT NULL,
        CONSTRAINT external_ids_pkey PRIMARY KEY (record_type, namespace, value)
    )
    """,
    "CREATE INDEX external_ids_record_id_idx ON external_ids (record_id)",
)

# Who refers to whom. `live_id` is a record's id while it is not deleted: so Postgres itself refuses
# a link to a deleted record, and the deletion of a linked one, in whatever order they come. (It is
# set by the trigger: were it a generated column, then each update of a row with a BEFORE trigger
# would lock the row as if its key changed, and stand in the way of every link to it.)
LINKS = (
    """
    CREATE TABLE links (
        owner_type text NOT NULL,
        owner_id uuid NOT NULL,
        link text NOT NULL,
        hop integer,
        is_origin boolean NOT NULL,
        label text,
        source_id uuid,
        article_id uuid,
        claim_id uuid,
        denial_id uuid,
        CONSTRAINT links_one_target_check
            CHECK (num_nonnulls(source_id, article_id, claim_id, denial_id) = 1),
        CONSTRAINT links_source_id_fkey FOREIGN KEY (source_id)
            REFERENCES sources (live_id) DEFERRABLE INITIALLY IMMEDIATE,
        CONSTRAINT links_article_id_fkey FOREIGN KEY (article_id)
            REFERENCES articles (live_id) DEFERRABLE INITIALLY IMMEDIATE,
        CONSTRAINT links_claim_id_fkey FOREIGN KEY (claim_id)
            REFERENCES claims (live_id) DEFERRABLE INITIALLY IMMEDIATE,
        CONSTRAINT links_denial_id_fkey FOREIGN KEY (denial_id)
            REFERENCES denials (live_id) DEFERRABLE INITIALLY IMMEDIATE
    )
    """,
    "CREATE INDEX links_owner_id_idx ON links (owner_id)",
    *(
        f"CREATE INDEX links_{target}_id_idx ON links ({target}_id, owner_type, link)"
        f" WHERE {target}_id IS NOT NULL"
        for target in ("source", "article", "claim", "denial")
    ),
    """
    CREATE UNIQUE INDEX links_symmetric_key
        ON links (least(owner_id, claim_id), greatest(owner_id, claim_id), label)
        WHERE link = 'relation' AND owner_type = 'claim'
            AND label IN ('conflicts_with', 'same_origin_as', 'overlaps')
    """,
    # The figures of claims as ranges; vague ones have none.
    """
    CREATE TABLE figures (
        claim_id uuid NOT NULL,
        metric text NOT NULL,
        lower float8,
        upper float8,
        lower_open boolean NOT NULL,
        upper_open boolean NOT NULL
    )
    """,
    "CREATE INDEX figures_claim_id_idx ON figures (claim_id)",
    "CREATE INDEX figures_metric_idx ON figures (metric, lower, upper)",
    """
    CREATE TABLE source_names (
        source_id uuid NOT NULL,
        name text NOT NULL
    )
    """,
    "CREATE INDEX source_names_source_id_idx ON source_names (source_id)",
    "CREATE INDEX source_names_name_idx ON source_names (name text_pattern_ops)",
    """
    CREATE FUNCTION refuse_removal() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'records of % are never removed; set deleted_at', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END
    $$
    """,
)

_FIGURES = """
        INSERT INTO figures (claim_id, metric, lower, upper, lower_open, upper_open)
        SELECT n.id, q.metric,
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
               q.qualifier = 'more_than', q.qualifier = 'fewer_than'
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

# Tables beside the link index that follow from a record: table, owner column, columns it follows
# from, and the statement that fills it from new_rows.
FOLLOWERS = {
    "claim": ("figures", "claim_id", ("quantities",), _FIGURES),
    "source": ("source_names", "source_id", ("name", "names"), _SOURCE_NAMES),
}


def _names(columns: str) -> list[str]:
    """Give the names in a list of column definitions."""
    return [line.split()[0] for line in columns.strip().splitlines() if line.strip()]


def _table(noun: Noun) -> list[str]:
    computed = f"{noun.computed}," if noun.computed else ""
    table = noun.table
    # When a write has to be made for the record to become public: of published ones alone.
    lifts_at = "\n        lifts_at timestamptz," if _EMBARGO in noun.decides else ""
    return [
        f"""
    CREATE TABLE {table} (
        id uuid CONSTRAINT {table}_pkey PRIMARY KEY,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,{noun.columns},{computed}{_LAST},
        actor text,
        deleted_at timestamptz,
        live_id uuid CONSTRAINT {table}_live_id_key UNIQUE,
        visibility smallint NOT NULL,{lifts_at}
        doc bytea NOT NULL,{noun.kept}
    ) WITH (toast_tuple_target = 8160)
    """,
        f"CREATE INDEX {table}_created_at_idx ON {table} (created_at, id) WHERE deleted_at IS NULL",
        f"CREATE INDEX {table}_updated_at_idx ON {table} (updated_at, id) WHERE deleted_at IS NULL",
        f"CREATE INDEX {table}_public_created_at_idx ON {table} (created_at, id)"
        " WHERE deleted_at IS NULL AND visibility = 0",
        f"CREATE INDEX {table}_search_idx ON {table} USING gin (search)",
        f"CREATE INDEX {table}_tags_idx ON {table} USING gin (tags)",
        *(
            [f"CREATE INDEX {table}_lifts_at_idx ON {table} (lifts_at) WHERE lifts_at IS NOT NULL"]
            if lifts_at
            else []
        ),
        *noun.indexes,
    ]


def _visibility(noun: Noun) -> tuple[str, str]:
    """Define a record's class, and write what the trigger derives of it.

    0 is public, 1 for those who read drafts, 2 for those who read what is confidential. It is what
    it is at the write: no reading looks at the clock, so that history, feed and lists agree.
    """
    types = {name: "timestamptz" if name == _EMBARGO else "text" for name in noun.decides}
    signature = ", ".join(f"{name} {type_}" for name, type_ in types.items())
    given = ", ".join(f"NEW.{name}" for name in noun.decides)
    found = f"{noun.type}_visibility({given})"
    rule = noun.visibility
    lifts_at = ""
    if _EMBARGO in noun.decides:
        rule = f"greatest({rule}, CASE WHEN {_EMBARGO} > clock_timestamp() THEN 1 ELSE 0 END)"
        unembargoed = found.replace(f"NEW.{_EMBARGO}", "NULL")
        lifts_at = f"""
        NEW.lifts_at := CASE
            WHEN NEW.deleted_at IS NULL AND NEW.visibility > 0 AND {unembargoed} = 0
            THEN NEW.{_EMBARGO}
        END;"""
    function = f"""
    CREATE FUNCTION {noun.type}_visibility({signature}) RETURNS smallint LANGUAGE sql AS $$
        SELECT ({rule})::smallint
    $$
    """
    derive = f"""
        NEW.visibility := {found};
        IF TG_OP = 'UPDATE' AND NEW.deleted_at IS NOT NULL THEN
            NEW.visibility := greatest(NEW.visibility, OLD.visibility); -- no embargo ends any more
        END IF;{lifts_at}"""
    return function, derive


def _document(noun: Noun) -> list[str]:
    """Define the document's properties as a row type, and the trigger that writes it."""
    names = [*_names(noun.columns), *_names(noun.computed), *_names(_LAST)]
    types = dict(
        line.strip().rstrip(",").split()[:2]
        for line in (noun.columns + "," + noun.computed + "," + _LAST).splitlines()
        if line.strip(" ,")
    )
    attributes = ", ".join(
        f"{name} {'text' if types[name] == 'timestamptz' else types[name]}" for name in names
    )
    values = ", ".join(
        f"instant(NEW.{name})" if types[name] == "timestamptz" else f"NEW.{name}" for name in names
    )
    dropped = [f"DELETE FROM links WHERE owner_type = '{noun.type}' AND owner_id = OLD.id;"]
    if noun.type in FOLLOWERS:
        follower, owner, *_ = FOLLOWERS[noun.type]
        dropped.append(f"DELETE FROM {follower} WHERE {owner} = OLD.id;")
    visibility, derive_visibility = _visibility(noun)
    return [
        visibility,
        f"CREATE TYPE {noun.type}_content AS ({attributes})",
        f"""
    CREATE FUNCTION {noun.table}_before() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        content text;
    BEGIN{noun.derive}
        content := row_to_json(ROW({values})::{noun.type}_content)::text;
        IF TG_OP = 'INSERT' THEN
            NEW.version := 1;
            NEW.created_at := clock_timestamp();
            NEW.updated_at := NEW.created_at;
            NEW.deleted_at := NULL;
        END IF;{derive_visibility}
        IF TG_OP = 'UPDATE' THEN
            IF NEW.id <> OLD.id THEN
                RAISE EXCEPTION 'the id of a record does not change';
            END IF;
            IF (NEW.deleted_at IS NULL) = (OLD.deleted_at IS NULL)
                AND NEW.visibility = OLD.visibility
                AND document(OLD.id, OLD.version, OLD.created_at, OLD.updated_at, content) = OLD.doc
            THEN
                RETURN NULL; -- nothing changed: no version, no revision, no event
            END IF;
            NEW.version := OLD.version + 1;
            NEW.created_at := OLD.created_at;
            -- now() would let a later version carry an earlier time
            NEW.updated_at := greatest(clock_timestamp(), OLD.updated_at + interval '1 microsecond');
            IF NEW.deleted_at IS NOT NULL AND OLD.deleted_at IS NULL THEN
                NEW.deleted_at := NEW.updated_at;
                {" ".join(dropped)}
            END IF;
        END IF;
        NEW.live_id := CASE WHEN NEW.deleted_at IS NULL THEN NEW.id END;
        NEW.doc := document(NEW.id, NEW.version, NEW.created_at, NEW.updated_at, content);
        RETURN NEW;
    END
    $$
    """,
        f"""
    CREATE TRIGGER {noun.table}_before BEFORE INSERT OR UPDATE ON {noun.table}
        FOR EACH ROW EXECUTE FUNCTION {noun.table}_before()
    """,
        f"""
    CREATE TRIGGER {noun.table}_removal BEFORE DELETE OR TRUNCATE ON {noun.table}
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal()
    """,
    ]


def _arguments(noun: Noun) -> list[str]:
    """Give the columns that a noun's link query reads, in the order of their first mention."""
    words = noun.links.replace("::", " ").split(":")[1:]
    names = ["".join(c for c in word.split()[0] if c.isalnum() or c == "_") for word in words]
    return list(dict.fromkeys(names))


def _after(noun: Noun) -> list[str]:
    """Define what follows from a write, per statement: links, external ids, history, outbox."""
    arguments = _arguments(noun)
    types = {"relations": "json"} | {
        line.split()[0]: line.split()[1].rstrip(",")
        for line in (noun.columns + "," + noun.computed).splitlines()
        if line.strip(" ,")
    }
    signature = ", ".join(f"{name} {types[name]}" for name in arguments)
    query = noun.links
    for position, name in enumerate(arguments, 1):
        query = query.replace(f":{name}", f"${position}")
    given = ", ".join(f"n.{name}" for name in arguments)
    fill_links = f"""
        INSERT INTO links (owner_type, owner_id, link, hop, is_origin, label,
                           source_id, article_id, claim_id, denial_id)
        SELECT '{noun.type}', n.id, l.link, l.hop, l.is_origin, l.label,
               l.source_id, l.article_id, l.claim_id, l.denial_id
        FROM new_rows AS n
        CROSS JOIN LATERAL {noun.type}_links({given}) AS l"""
    fill_external = f"""
        INSERT INTO external_ids (record_type, namespace, value, record_id)
        SELECT '{noun.type}', e.namespace, e.value, n.id
        FROM new_rows AS n
        CROSS JOIN LATERAL json_to_recordset(n.external_ids) AS e(namespace text, value text)"""
    return [
        f"""
    CREATE FUNCTION {noun.type}_links({signature}) RETURNS TABLE (
        link text, hop integer, is_origin boolean, label text,
        source_id uuid, article_id uuid, claim_id uuid, denial_id uuid
    ) LANGUAGE sql STABLE AS $${query}
    $$
    """,
        f"""
    CREATE FUNCTION {noun.table}_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        {fill_links.strip()};
        {_follow_inserted(noun)}
        {fill_external.strip()};
        {_history(noun, "'created'", "n.doc", "NULL", "new_rows AS n")}
        RETURN NULL;
    END
    $$
    """,
        f"""
    CREATE FUNCTION {noun.table}_updated() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        {_refill("links", "owner_id", arguments, fill_links, also=f"owner_type = '{noun.type}' AND ")}
        {_follow_updated(noun)}
        {_refill("external_ids", "record_id", ["external_ids"], fill_external, kept=True)}
        {_history(noun, _OP, _DOC, "o.visibility", "new_rows AS n JOIN old_rows AS o USING (id)")}
        RETURN NULL;
    END
    $$
    """,
        f"""
    CREATE TRIGGER {noun.table}_inserted AFTER INSERT ON {noun.table}
        REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION {noun.table}_inserted()
    """,
        f"""
    CREATE TRIGGER {noun.table}_updated AFTER UPDATE ON {noun.table}
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION {noun.table}_updated()
    """,
    ]


_OP = """CASE
                   WHEN n.deleted_at IS NOT NULL AND o.deleted_at IS NULL THEN 'deleted'
                   WHEN n.deleted_at IS NULL AND o.deleted_at IS NOT NULL THEN 'restored'
                   ELSE 'updated'
               END"""
_DOC = "CASE WHEN n.deleted_at IS NULL THEN n.doc END"


def _history(noun: Noun, op_sql: str, doc: str, before: str, rows: str) -> str:
    return f"""INSERT INTO revisions
            (record_type, record_id, version, op, at, actor, visibility, doc)
        SELECT '{noun.type}', n.id, n.version, {op_sql}, n.updated_at, n.actor, n.visibility, {doc}
        FROM {rows};
        INSERT INTO outbox
            (record_type, record_id, version, op, at, visibility_before, visibility_after)
        SELECT '{noun.type}', n.id, n.version, {op_sql}, n.updated_at, {before}, n.visibility
        FROM {rows}
        ORDER BY n.updated_at;"""


def _follow_inserted(noun: Noun) -> str:
    return f"{FOLLOWERS[noun.type][3].strip()};" if noun.type in FOLLOWERS else ""


def _follow_updated(noun: Noun) -> str:
    if noun.type not in FOLLOWERS:
        return ""
    table, owner, columns, fill = FOLLOWERS[noun.type]
    return _refill(table, owner, list(columns), fill)


def _refill(
    table: str, owner: str, columns: list[str], fill: str, *, also: str = "", kept: bool = False
) -> str:
    """Derive a table's rows anew for the records whose columns changed, or that came back.

    `kept` rows are those of deleted records too.
    """
    old = ", ".join(f"o.{name}::text" for name in columns)
    new = ", ".join(f"n.{name}::text" for name in columns)
    changed = f"ROW({old}) IS DISTINCT FROM ROW({new})"
    moved = changed if kept else f"n.deleted_at IS NULL AND (o.deleted_at IS NOT NULL OR {changed})"
    rows = f"new_rows AS n JOIN old_rows AS o USING (id) WHERE {moved}"
    filled = fill.replace("new_rows AS n", f"(SELECT n.* FROM {rows}) AS n")
    return f"""IF EXISTS (SELECT FROM {rows}) THEN
            DELETE FROM {table} WHERE {also}{owner} IN (SELECT n.id FROM {rows});
            {filled.strip()};
        END IF;"""


def upgrade() -> None:
    """Create everything."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    statements = [
        *COMMON,
        *(statement for noun in NOUNS for statement in _table(noun)),
        *LINKS,
        *(statement for noun in NOUNS for statement in [*_document(noun), *_after(noun)]),
    ]
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop everything, records included."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    tables = ("links", "figures", "source_names", "external_ids", "outbox", "revisions")
    for table in (*tables, *(noun.table for noun in NOUNS)):
        op.execute(f"DROP TABLE {table}")
    for noun in NOUNS:
        for function in (f"{noun.table}_before", f"{noun.table}_inserted", f"{noun.table}_updated"):
            op.execute(f"DROP FUNCTION {function}")
        op.execute(f"DROP FUNCTION {noun.type}_links")
        op.execute(f"DROP FUNCTION {noun.type}_visibility")
        op.execute(f"DROP TYPE {noun.type}_content")
    functions = (
        "refuse_removal", "denial_family", "fold", "names_text", "time_until", "time_from",
        "time_bound", "document", "instant",
    )  # fmt: skip
    for function in functions:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP TEXT SEARCH CONFIGURATION claim_records")
    op.execute("DROP EXTENSION unaccent")
