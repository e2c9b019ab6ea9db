-- IDs of a range, or of its pilot, that have no current result under the fingerprint. The pilot is the first
-- `limit` by a hash of the ID: scattered over the range, and the same every time.
WITH listed AS (
    SELECT abstract_id, sum_assets.source_hash(min(abstract)) AS source_hash
    FROM sum_assets.source_abstract
    WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
    GROUP BY abstract_id
),
picked AS (
    SELECT * FROM listed
    ORDER BY sha256(convert_to(abstract_id::text, 'UTF8'))
    LIMIT %(limit)s
)
SELECT abstract_id
FROM picked AS p
WHERE %(overwrite)s
   OR NOT EXISTS (
        SELECT FROM sum_assets.generated_summary AS g
        WHERE g.fingerprint = %(fingerprint)s AND g.abstract_id = p.abstract_id AND g.source_hash = p.source_hash
    ) AND NOT EXISTS (
        SELECT FROM sum_assets.rejected_abstract AS r
        WHERE r.fingerprint = %(fingerprint)s AND r.abstract_id = p.abstract_id AND r.source_hash = p.source_hash
    )
ORDER BY abstract_id;
