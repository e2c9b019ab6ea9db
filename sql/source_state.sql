-- The columns of source_abstract (NULL without the view), and all relations that it reads, also through other views.
WITH RECURSIVE edge AS (
    SELECT r.ev_class AS reader, d.refobjid AS oid
    FROM pg_rewrite AS r
    JOIN pg_depend AS d
        ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
    WHERE r.ev_type = '1'
), read AS (
    SELECT oid FROM edge WHERE reader = to_regclass('sum_assets.source_abstract')
    UNION
    SELECT edge.oid FROM read JOIN edge ON edge.reader = read.oid
)
SELECT (SELECT jsonb_object_agg(a.attname, format_type(a.atttypid, NULL))
          FROM pg_attribute AS a
         WHERE a.attrelid = to_regclass('sum_assets.source_abstract') AND a.attnum > 0) AS columns,
       ARRAY(SELECT format('%I.%I', n.nspname, c.relname)
               FROM read JOIN pg_class AS c USING (oid) JOIN pg_namespace AS n ON n.oid = c.relnamespace
              ORDER BY 1) AS reads;
