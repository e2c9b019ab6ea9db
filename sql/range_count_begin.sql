-- Says of a range how often it changed, whether nobody else works on it, and what was counted last, if that holds.
SELECT c.changes,
       NOT EXISTS (
           SELECT FROM sum_assets.range_lease AS l
           WHERE l.ids && int8range(%(lo)s, %(hi)s, '[]') AND l.failure IS NULL AND l.token <> %(token)s
       ) AS alone,
       CASE WHEN c.counted_at IS NOT NULL THEN c.state END AS state
FROM sum_assets.range_count AS c
WHERE c.lo = %(lo)s AND c.hi = %(hi)s;
