-- The range runs of the hour before the last one ended, under its fingerprint, the latest first. Pilots only where there is
-- nothing else.
WITH latest AS (
    SELECT fingerprint, is_pilot, ended_at FROM sum_assets.range_run ORDER BY is_pilot, ended_at DESC LIMIT 1
)
SELECT fingerprint, r.rows, r.began_at, r.ended_at
FROM sum_assets.range_run AS r JOIN latest USING (fingerprint, is_pilot)
WHERE r.ended_at > latest.ended_at - interval '1 hour'
ORDER BY r.ended_at DESC;
