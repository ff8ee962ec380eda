-- What the peers serve: views over the same tables, with the columns that our records publish.
-- `*_documents` hand on the stored document, as our service does; the others build the JSON anew.
-- The link index names its owner without a foreign key, so what is embedded is told by functions,
-- which Postgres inlines into the query as it does the views.

DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rest_reader') THEN
        CREATE ROLE rest_reader NOLOGIN;
    END IF;
END $$;
CREATE SCHEMA rest;

CREATE VIEW rest.sources AS
SELECT id, version, created_at, updated_at, kind, identification, name, description, names, roles,
       parent_id, members, group_size, country_code, url, confidentiality, merged_into_id,
       external_ids, tags, note
FROM public.sources
WHERE deleted_at IS NULL;

CREATE VIEW rest.articles AS
SELECT id, version, created_at, updated_at, headline, url, publisher_id, authors, language,
       published, dateline, section, text, zones, status, corrections, relations, archived_url,
       embargoed_until, text_sha256, text_length, external_ids, tags, note
FROM public.articles
WHERE deleted_at IS NULL;

CREATE VIEW rest.claims AS
SELECT id, version, created_at, updated_at, text, language, kind, speech_act, certainty, polarity,
       embedding, parent_claim_id, attributions, appearances, quantities, parties, places, stated,
       occurred, relations, validity, review_status, embargoed_until, extraction, assessments,
       external_ids, tags, note
FROM public.claims
WHERE deleted_at IS NULL;

ALTER VIEW rest.claims ALTER COLUMN id SET DEFAULT uuidv7();

CREATE FUNCTION rest.articles(rest.claims) RETURNS SETOF rest.articles LANGUAGE sql STABLE AS $$
    SELECT * FROM rest.articles WHERE id IN (
        SELECT l.article_id FROM public.links AS l
        WHERE l.owner_id = $1.id AND l.owner_type = 'claim' AND l.article_id IS NOT NULL
    )
$$;

CREATE FUNCTION rest.sources(rest.claims) RETURNS SETOF rest.sources LANGUAGE sql STABLE AS $$
    SELECT * FROM rest.sources WHERE id IN (
        SELECT l.source_id FROM public.links AS l
        WHERE l.owner_id = $1.id AND l.owner_type = 'claim' AND l.source_id IS NOT NULL
    )
$$;

-- Links for those who join them by hand or by an ORM, and the names that PostGraphile wants.
CREATE VIEW rest.claim_articles AS
SELECT owner_id AS claim_id, article_id FROM public.links
WHERE owner_type = 'claim' AND article_id IS NOT NULL;

CREATE VIEW rest.claim_sources AS
SELECT owner_id AS claim_id, source_id FROM public.links
WHERE owner_type = 'claim' AND source_id IS NOT NULL;

COMMENT ON VIEW rest.claims IS '@primaryKey id';
COMMENT ON VIEW rest.articles IS '@primaryKey id';
COMMENT ON VIEW rest.sources IS '@primaryKey id';

CREATE FUNCTION rest.claims_articles(claim rest.claims) RETURNS SETOF rest.articles
LANGUAGE sql STABLE AS $$
    SELECT * FROM rest.articles WHERE id IN (
        SELECT article_id FROM rest.claim_articles WHERE claim_id = claim.id
    )
$$;

CREATE FUNCTION rest.claims_sources(claim rest.claims) RETURNS SETOF rest.sources
LANGUAGE sql STABLE AS $$
    SELECT * FROM rest.sources WHERE id IN (
        SELECT source_id FROM rest.claim_sources WHERE claim_id = claim.id
    )
$$;

CREATE FUNCTION rest.changed_claims(since timestamptz) RETURNS SETOF rest.claims
LANGUAGE sql STABLE AS $$
    SELECT * FROM rest.claims WHERE updated_at > since ORDER BY updated_at, id
$$;

CREATE FUNCTION rest.patch_claim(id uuid, version integer, note text) RETURNS rest.claims
LANGUAGE sql VOLATILE AS $$
    UPDATE rest.claims AS c SET note = $3 WHERE c.id = $1 AND c.version = $2 RETURNING *
$$;

CREATE VIEW rest.source_documents AS
SELECT id, convert_from(doc, 'UTF8')::json AS record FROM public.sources WHERE deleted_at IS NULL;

CREATE VIEW rest.article_documents AS
SELECT id, convert_from(doc, 'UTF8')::json AS record FROM public.articles WHERE deleted_at IS NULL;

CREATE VIEW rest.claim_documents AS
SELECT id, created_at, convert_from(doc, 'UTF8')::json AS record
FROM public.claims
WHERE deleted_at IS NULL;

CREATE FUNCTION rest.articles(rest.claim_documents) RETURNS SETOF rest.article_documents
LANGUAGE sql STABLE AS $$
    SELECT * FROM rest.article_documents WHERE id IN (
        SELECT l.article_id FROM public.links AS l
        WHERE l.owner_id = $1.id AND l.owner_type = 'claim' AND l.article_id IS NOT NULL
    )
$$;

CREATE FUNCTION rest.sources(rest.claim_documents) RETURNS SETOF rest.source_documents
LANGUAGE sql STABLE AS $$
    SELECT * FROM rest.source_documents WHERE id IN (
        SELECT l.source_id FROM public.links AS l
        WHERE l.owner_id = $1.id AND l.owner_type = 'claim' AND l.source_id IS NOT NULL
    )
$$;

-- The feed, for which the peers have nothing of their own, with each record as it is stored.
CREATE VIEW rest.changes AS
SELECT f.seq, o.op, o.record_type AS type, o.record_id AS id, o.version, o.at,
       convert_from(r.doc, 'UTF8')::json AS record
FROM public.feed AS f
JOIN public.outbox AS o ON o.id = f.outbox_id
JOIN public.revisions AS r
    ON r.record_type = o.record_type AND r.record_id = o.record_id AND r.version = o.version;

-- Rows alone, without triggers, history, feed and further indexes: what an import of them costs.
CREATE SCHEMA plain;
CREATE TABLE plain.claims AS TABLE rest.claims WITH NO DATA;
ALTER TABLE plain.claims
    ADD PRIMARY KEY (id),
    ALTER COLUMN id SET DEFAULT uuidv7(),
    ALTER COLUMN version SET DEFAULT 1,
    ALTER COLUMN created_at SET DEFAULT clock_timestamp(),
    ALTER COLUMN updated_at SET DEFAULT clock_timestamp();

-- Triggers act as whoever writes, so the role needs their tables too.
GRANT USAGE ON SCHEMA rest, plain, public TO rest_reader;
GRANT ALL ON ALL TABLES IN SCHEMA rest, plain, public TO rest_reader;
