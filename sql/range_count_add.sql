-- Records the numbers of abstracts of ranges that nothing was made of yet.
INSERT INTO sum_assets.range_count (lo, hi, counted_at, state)
SELECT lo, hi, clock_timestamp(), state
FROM unnest(%(los)s::bigint[], %(his)s::bigint[], %(states)s::jsonb[]) AS added (lo, hi, state)
ON CONFLICT (lo, hi) DO NOTHING;
