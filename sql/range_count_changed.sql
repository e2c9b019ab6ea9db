-- What was counted of the IDs lo..hi holds no longer.
UPDATE sum_assets.range_count
SET changes = changes + 1, counted_at = NULL
WHERE lo <= %(hi)s AND hi >= %(lo)s;
