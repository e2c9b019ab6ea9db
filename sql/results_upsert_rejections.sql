WITH no_longer_generated AS (
    DELETE FROM sum_assets.generated_summary AS g
    USING pg_temp.incoming_rejection AS i
    WHERE g.fingerprint = %(fingerprint)s AND g.abstract_id = i.abstract_id
)
INSERT INTO sum_assets.rejected_abstract AS r (
    fingerprint, abstract_id, source_hash, reason, detail, run_id
)
SELECT %(fingerprint)s, abstract_id, source_hash, reason, detail, %(run_id)s
FROM pg_temp.incoming_rejection
ORDER BY abstract_id
ON CONFLICT (fingerprint, abstract_id) DO UPDATE SET
    source_hash = excluded.source_hash,
    reason = excluded.reason,
    detail = excluded.detail,
    run_id = excluded.run_id,
    created_at = now()
WHERE r.source_hash <> excluded.source_hash OR %(overwrite)s;
