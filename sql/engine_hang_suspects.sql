-- Those of the IDs that an engine may have hung on: how often, and among how many at least.
SELECT abstract_id, source_hash, min(group_size) AS group_size, count(*) AS hangs
FROM sum_assets.engine_hang
WHERE fingerprint = %(fingerprint)s AND abstract_id = ANY (%(ids)s)
GROUP BY abstract_id, source_hash
ORDER BY abstract_id, max(hung_at);
