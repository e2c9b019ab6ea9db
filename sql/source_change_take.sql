-- Takes the changed IDs that are committed. What was counted of their ranges holds no longer.
WITH taken AS (
    DELETE FROM sum_assets.source_change RETURNING abstract_id
), changed AS (
    SELECT array_agg(abstract_id ORDER BY abstract_id) FILTER (WHERE abstract_id IS NOT NULL) AS ids,
           bool_or(abstract_id IS NULL) AS is_all
    FROM taken
)
UPDATE sum_assets.range_count AS c
   SET changes = c.changes + 1, counted_at = NULL, edited_at = clock_timestamp()
  FROM changed
 WHERE changed.is_all OR width_bucket(c.hi, changed.ids) > width_bucket(c.lo - 1, changed.ids);
