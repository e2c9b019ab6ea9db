-- The table's schema and name, and its columns' types: those asked for, and all names under '*'.
SELECT
    (SELECT ARRAY[n.nspname::text, c.relname::text]
       FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
      WHERE c.oid = t.oid) AS relation,
    (SELECT jsonb_object_agg(a.attname, format_type(a.atttypid, NULL)) FILTER (WHERE a.attname = ANY (t.columns))
            || jsonb_build_object('*', jsonb_agg(a.attname))
       FROM pg_attribute AS a
      WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped) AS types
FROM (SELECT to_regclass(%s)::oid AS oid, %s::text[] AS columns) AS t;
