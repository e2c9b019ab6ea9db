-- The owner of the schema sum_assets, where that is another role which this one may act as, and which owns all tables.
SELECT o.rolname
FROM pg_namespace AS n JOIN pg_roles AS o ON o.oid = n.nspowner
WHERE n.nspname = 'sum_assets'
  AND o.rolname <> current_user
  AND pg_has_role(o.oid, CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END)
  AND NOT EXISTS (
        SELECT FROM pg_class AS c
        WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'S') AND c.relowner <> n.nspowner
    );
