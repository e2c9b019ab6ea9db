-- The relations that have one of the names, each with its kind, and whether this role may read it.
SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT') AS readable
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (SELECT to_regclass(name)::oid FROM unnest(%s::text[]) AS t (name))
ORDER BY c.oid;
