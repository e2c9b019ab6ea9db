-- IDs of a range, or of its pilot, that have no current result under the fingerprint. The pilot is the first
-- `limit` by a hash of the ID: scattered over the range, and the same every time.
-- A text is hashed only where there is a result to compare it with.
WITH listed AS (
    SELECT abstract_id, min(abstract) AS abstract
    FROM sum_assets.source_abstract
    WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
    GROUP BY abstract_id
),
pilot AS (
    SELECT DISTINCT abstract_id, sha256(convert_to(abstract_id::text, 'UTF8')) AS place
    FROM sum_assets.source_abstract
    WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
    ORDER BY place
    LIMIT %(limit)s
)
SELECT l.abstract_id
FROM listed AS l
LEFT JOIN sum_assets.generated_summary AS g
    ON g.fingerprint = %(fingerprint)s AND g.abstract_id = l.abstract_id
LEFT JOIN sum_assets.rejected_abstract AS r
    ON r.fingerprint = %(fingerprint)s AND r.abstract_id = l.abstract_id
WHERE (%(limit)s::bigint IS NULL OR l.abstract_id IN (SELECT abstract_id FROM pilot))
  AND CASE
    WHEN %(overwrite)s OR (g.abstract_id IS NULL AND r.abstract_id IS NULL) THEN true
    ELSE NOT coalesce(sum_assets.source_hash(l.abstract) IN (g.source_hash, r.source_hash), false)
  END
ORDER BY l.abstract_id;
