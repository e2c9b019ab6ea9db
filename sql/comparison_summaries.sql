-- What two fingerprints wrote about the same abstracts in lo..hi, as they are now: the first so many by a hash of the
-- ID, as in a pilot. A title counts only where it belongs to the same text.
WITH shared AS (
    SELECT a.abstract_id, a.source_hash, sha256(convert_to(a.abstract_id::text, 'UTF8')) AS place
    FROM sum_assets.generated_summary AS a
    JOIN sum_assets.generated_summary AS b USING (abstract_id, source_hash)
    WHERE a.fingerprint = %(candidate)s AND b.fingerprint = %(reference)s
      AND abstract_id BETWEEN %(lo)s AND %(hi)s
    ORDER BY place
    LIMIT %(rows)s
)
SELECT w.fingerprint, shared.abstract_id, w.summary, w.finish_reason = 'length' AS capped, w.input_tokens,
       source.abstract, corpus.title
FROM shared
CROSS JOIN LATERAL (
    SELECT min(abstract) AS abstract FROM sum_assets.source_abstract WHERE abstract_id = shared.abstract_id
) AS source
JOIN sum_assets.generated_summary AS w
    ON w.abstract_id = shared.abstract_id AND w.fingerprint IN (%(candidate)s, %(reference)s)
LEFT JOIN sum_assets.corpus_abstract AS corpus
    ON corpus.abstract_id = shared.abstract_id AND corpus.abstract = source.abstract
WHERE sum_assets.source_hash(source.abstract) = shared.source_hash
ORDER BY shared.place;
