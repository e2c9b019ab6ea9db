-- What the owner of the schema sum_assets lacks to read a relation, or all that source_abstract reads itself, as the
-- statements that grant it. A view reads with the rights of its owner.
WITH relation AS (
    SELECT c.oid, c.relname, n.oid AS schema, n.nspname, o.rolname AS owner
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_namespace AS ours ON ours.nspname = 'sum_assets'
    JOIN pg_roles AS o ON o.oid = ours.nspowner
    WHERE c.oid = coalesce({relation}, c.oid)
      AND n.oid <> ours.oid
      AND ({relation} IS NOT NULL OR c.oid IN (
            SELECT d.refobjid
            FROM pg_rewrite AS r
            JOIN pg_depend AS d
                ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
            WHERE r.ev_class = to_regclass('sum_assets.source_abstract')
        ))
)
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', nspname, owner)
FROM relation WHERE NOT has_schema_privilege(owner, schema, 'USAGE')
UNION
SELECT format('GRANT SELECT ON %I.%I TO %I', nspname, relname, owner)
FROM relation
WHERE NOT (has_table_privilege(owner, oid, 'SELECT') OR has_any_column_privilege(owner, oid, 'SELECT'))
ORDER BY 1 DESC;
