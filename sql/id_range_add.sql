-- Adds ID ranges. One that overlaps another is left out, and the rows that were added are counted.
INSERT INTO sum_assets.id_range (ids)
SELECT int8range(r.lo, r.hi, '[]') FROM unnest(%(los)s::bigint[], %(his)s::bigint[]) AS r (lo, hi)
ON CONFLICT DO NOTHING;
