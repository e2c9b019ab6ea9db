-- What this role lacks to run the pipeline in the schemas that there are: each right, and on what. Schemas come first,
-- since without them the rest is of no use.
WITH needed AS (
    SELECT 1 AS place, 'TEMPORARY' AS privilege, format('database %I', current_database()) AS name,
           has_database_privilege(current_database(), 'TEMPORARY') AS granted
    UNION ALL
    SELECT 1, 'USAGE', format('schema %I', n.nspname), has_schema_privilege(n.oid, 'USAGE')
    FROM pg_namespace AS n
    WHERE n.nspname IN ('sum_assets', 'dagster')
    UNION ALL
    SELECT 2, privilege, format('%I.%I', n.nspname, c.relname), has_table_privilege(c.oid, privilege)
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
    WHERE n.nspname IN ('sum_assets', 'dagster')
      AND c.relkind IN ('r', 'p', 'v')
      -- The view is read; which version the tables have is the owner's to say.
      AND (privilege = 'SELECT' OR c.relkind <> 'v' AND c.relname NOT IN ('schema_migration', 'alembic_version'))
    UNION ALL
    SELECT 2, 'USAGE', format('%I.%I', n.nspname, c.relname),
           CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'USAGE') ELSE true END
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('sum_assets', 'dagster')
    UNION ALL
    SELECT 2, 'EXECUTE', p.oid::regprocedure::text, has_function_privilege(p.oid, 'EXECUTE')
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname = 'sum_assets' AND p.prorettype <> 'trigger'::regtype
)
SELECT privilege, name FROM needed WHERE NOT granted ORDER BY place, name, privilege;
