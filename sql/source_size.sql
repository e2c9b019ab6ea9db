-- How large the source is, without counting it: the rows that ID ranges were counted to have, and how many of the
-- registered ranges these are; the planner's estimate for the tables that are read (NULL before ANALYZE); their bytes.
SELECT (SELECT sum((state ->> 'source')::bigint)::bigint FROM sum_assets.range_count WHERE counted_at IS NOT NULL) AS counted,
       (SELECT count(*) FROM sum_assets.range_count WHERE counted_at IS NOT NULL) AS counted_ranges,
       (SELECT count(*) FROM sum_assets.id_range) AS ranges,
       sum(nullif(c.reltuples, -1))::bigint AS estimated,
       sum(pg_total_relation_size(c.oid))::bigint AS bytes
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
-- to_regclass would refuse a name in a schema that this role may not use.
WHERE format('%%I.%%I', n.nspname, c.relname) = ANY (%s) AND c.relkind IN ('r', 'p', 'm', 'f');
