-- The published summaries of a range and what was rejected under the same fingerprint, with where they come from.
WITH published AS (
    SELECT p.abstract_id, p.summary, p.fingerprint, p.source_hash, p.run_id, p.published_at,
           g.input_truncated, g.finish_reason = 'length' AS capped
    FROM sum_assets.abstract_summary AS p
    LEFT JOIN sum_assets.generated_summary AS g USING (fingerprint, abstract_id)
    WHERE p.abstract_id BETWEEN %(lo)s AND %(hi)s
),
rejected AS (
    SELECT r.abstract_id, r.reason, r.detail, r.fingerprint, r.source_hash, r.run_id
    FROM sum_assets.rejected_abstract AS r
    WHERE r.abstract_id BETWEEN %(lo)s AND %(hi)s AND r.fingerprint IN (SELECT fingerprint FROM published)
)
SELECT abstract_id, p.summary, r.reason AS rejection, r.detail AS rejection_detail, fingerprint,
       c.settings ->> 'model' AS model,
       encode(coalesce(p.source_hash, r.source_hash), 'hex') AS source_hash,
       p.input_truncated, p.capped,
       coalesce(p.run_id, r.run_id) AS run_id,
       p.published_at
FROM published AS p
FULL JOIN rejected AS r USING (abstract_id, fingerprint)
JOIN sum_assets.summarizer_config AS c USING (fingerprint)
ORDER BY abstract_id;
