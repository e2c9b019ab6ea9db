-- Ranges tile the ID space: one that was cut anew replaces those that it overlaps.
WITH replaced AS (
    DELETE FROM sum_assets.range_profile WHERE lo <= %(hi)s AND hi >= %(lo)s AND (lo, hi) <> (%(lo)s, %(hi)s)
)
INSERT INTO sum_assets.range_profile (lo, hi, rows, percentiles)
VALUES (%(lo)s, %(hi)s, %(rows)s, %(percentiles)s)
ON CONFLICT (lo, hi) DO UPDATE
SET rows = excluded.rows, percentiles = excluded.percentiles, recorded_at = now();
