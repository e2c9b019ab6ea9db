-- The leases that touch lo..hi, of failed runs too.
SELECT token, lower(ids) AS lo, upper(ids) - 1 AS hi, run_id, host, boot_id, pid, process_start, taken_at, failure,
       renewed_at < clock_timestamp() - make_interval(secs => %(expiry)s) AS expired
FROM sum_assets.range_lease
WHERE ids && int8range(%(lo)s, %(hi)s, '[]')
ORDER BY ids;
