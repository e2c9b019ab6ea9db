-- The counts that hold: of ranges that none of the tracked changes touches.
WITH changed AS (
    SELECT array_agg(abstract_id ORDER BY abstract_id) FILTER (WHERE abstract_id IS NOT NULL) AS ids,
           bool_or(abstract_id IS NULL) AS is_all
    FROM sum_assets.source_change
)
SELECT c.lo, c.hi, c.state, c.counted_at
FROM sum_assets.range_count AS c CROSS JOIN changed
WHERE c.counted_at IS NOT NULL
  AND NOT coalesce(changed.is_all OR width_bucket(c.hi, changed.ids) > width_bucket(c.lo - 1, changed.ids), false);
