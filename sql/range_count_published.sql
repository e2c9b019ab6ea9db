-- Records what was counted of a range that nobody else works on.
INSERT INTO sum_assets.range_count (lo, hi, counted_at, state)
VALUES (%(lo)s, %(hi)s, clock_timestamp(), %(state)s)
ON CONFLICT (lo, hi) DO UPDATE SET state = excluded.state, counted_at = excluded.counted_at;
