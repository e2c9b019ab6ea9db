-- What was counted of ID ranges that have new, other or fewer abstracts now holds no longer. The sorted IDs are searched
-- for each range, not the ranges for each ID.
WITH changed AS (
    SELECT array_agg(abstract_id ORDER BY abstract_id) AS ids FROM pg_temp.load_changed
)
UPDATE sum_assets.range_count AS c
   SET changes = c.changes + 1, counted_at = NULL
  FROM changed
 WHERE width_bucket(c.hi, changed.ids) > width_bucket(c.lo - 1, changed.ids);
