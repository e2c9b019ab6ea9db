-- Deletes the ID ranges that Dagster no longer has.
DELETE FROM sum_assets.id_range AS i
WHERE NOT EXISTS (
    SELECT FROM unnest(%(los)s::bigint[], %(his)s::bigint[]) AS r (lo, hi) WHERE int8range(r.lo, r.hi, '[]') = i.ids
);
