-- The columns of a relation: the type, what a domain is made of, and its category ('S' is text of any kind).
SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type, base.type AS base, base.category
FROM pg_attribute AS a
CROSS JOIN LATERAL (
    WITH RECURSIVE t (oid, base) AS (
        SELECT oid, typbasetype FROM pg_type WHERE oid = a.atttypid
        UNION ALL
        SELECT u.oid, u.typbasetype FROM t JOIN pg_type AS u ON u.oid = t.base
    )
    SELECT format_type(t.oid, NULL) AS type, u.typcategory::text AS category
    FROM t JOIN pg_type AS u USING (oid)
    WHERE t.base = 0
) AS base
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;
