INSERT INTO sum_assets.abstract_summary AS p (abstract_id, summary, source_hash, fingerprint, run_id)
SELECT g.abstract_id, g.summary, g.source_hash, g.fingerprint, g.run_id
FROM sum_assets.generated_summary AS g
WHERE g.fingerprint = %(fingerprint)s
  AND g.abstract_id BETWEEN %(lo)s AND %(hi)s
  AND g.abstract_id IN (
        SELECT abstract_id FROM sum_assets.source_abstract WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
    )
ORDER BY g.abstract_id
ON CONFLICT (abstract_id) DO UPDATE SET
    summary = excluded.summary,
    source_hash = excluded.source_hash,
    fingerprint = excluded.fingerprint,
    run_id = excluded.run_id,
    published_at = now()
WHERE (p.summary, p.source_hash, p.fingerprint, p.run_id)
    IS DISTINCT FROM (excluded.summary, excluded.source_hash, excluded.fingerprint, excluded.run_id);
