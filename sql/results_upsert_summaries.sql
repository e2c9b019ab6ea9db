-- New rows, and rows whose source has changed. An abstract is generated or rejected, never both.
WITH no_longer_rejected AS (
    DELETE FROM sum_assets.rejected_abstract AS r
    USING pg_temp.incoming_summary AS i
    WHERE r.fingerprint = %(fingerprint)s AND r.abstract_id = i.abstract_id
)
INSERT INTO sum_assets.generated_summary AS g (
    fingerprint, abstract_id, source_hash, summary, input_tokens, output_tokens, input_truncated,
    finish_reason, run_id
)
SELECT %(fingerprint)s, abstract_id, source_hash, summary, input_tokens, output_tokens, input_truncated,
       finish_reason, %(run_id)s
FROM pg_temp.incoming_summary
ORDER BY abstract_id
ON CONFLICT (fingerprint, abstract_id) DO UPDATE SET
    source_hash = excluded.source_hash,
    summary = excluded.summary,
    input_tokens = excluded.input_tokens,
    output_tokens = excluded.output_tokens,
    input_truncated = excluded.input_truncated,
    finish_reason = excluded.finish_reason,
    run_id = excluded.run_id,
    created_at = now()
WHERE g.source_hash <> excluded.source_hash OR %(overwrite)s;
