-- What in the schemas sum_assets and dagster belongs to another role: that role, whether it is a superuser, and the
-- statement that gives it to the owner. Sequences of columns and indexes follow their tables.
WITH ours AS (
    SELECT oid, nspname, nspowner FROM pg_namespace WHERE nspname IN ('sum_assets', 'dagster')
), thing AS (
    SELECT 1 AS place, nspowner AS owner, format('SCHEMA %I', nspname) AS name FROM ours
    UNION ALL
    SELECT 2, c.relowner, format('TABLE %I.%I', ours.nspname, c.relname)
    FROM pg_class AS c JOIN ours ON ours.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
       OR (c.relkind = 'S' AND NOT EXISTS (
            SELECT FROM pg_depend AS d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
        ))
    UNION ALL
    SELECT 3, p.proowner, format('ROUTINE %s', p.oid::regprocedure)
    FROM pg_proc AS p JOIN ours ON ours.oid = p.pronamespace
)
SELECT r.rolname, r.rolsuper, format('ALTER %s OWNER TO %I', thing.name, {owner}::text)
FROM thing JOIN pg_roles AS r ON r.oid = thing.owner
WHERE r.rolname <> {owner}
ORDER BY thing.place, thing.name;
