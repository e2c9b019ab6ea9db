-- Records what was counted, unless somebody has begun to change the range since.
UPDATE sum_assets.range_count
SET state = %(state)s, counted_at = clock_timestamp()
WHERE lo = %(lo)s AND hi = %(hi)s AND changes = %(changes)s;
