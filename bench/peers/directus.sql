-- What one would click together in Directus: the claims as a collection, which anyone may use.
-- Its own record of who did what is off, since the triggers keep the history.

ALTER TABLE claims ALTER COLUMN id SET DEFAULT uuidv7();

INSERT INTO directus_collections (collection, accountability) VALUES ('claims', NULL);

INSERT INTO directus_fields (collection, field, special)
SELECT 'claims', column_name, 'cast-json'
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = 'claims' AND data_type = 'json';

INSERT INTO directus_permissions (collection, action, permissions, fields, policy)
SELECT 'claims', action, '{"deleted_at": {"_null": true}}', '*', policy
FROM unnest(ARRAY['read', 'create', 'update']) AS action,
    (SELECT policy FROM directus_access WHERE role IS NULL AND "user" IS NULL) AS public;
