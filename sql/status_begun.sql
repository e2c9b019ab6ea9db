-- Those of the ranges of which anything was generated, rejected or published. The next ID at or above the lower end is
-- looked up in an index: a plan for EXISTS may scan a table for each range.
SELECT range.lo, range.hi
FROM unnest(%(los)s::bigint[], %(his)s::bigint[]) AS range (lo, hi)
WHERE (
        SELECT p.abstract_id FROM sum_assets.abstract_summary AS p
        WHERE p.abstract_id >= range.lo ORDER BY p.abstract_id LIMIT 1
    ) <= range.hi
   OR EXISTS (
        SELECT FROM sum_assets.summarizer_config AS c
        WHERE (
                SELECT g.abstract_id FROM sum_assets.generated_summary AS g
                WHERE g.fingerprint = c.fingerprint AND g.abstract_id >= range.lo
                ORDER BY g.fingerprint, g.abstract_id LIMIT 1
            ) <= range.hi
           OR (
                SELECT r.abstract_id FROM sum_assets.rejected_abstract AS r
                WHERE r.fingerprint = c.fingerprint AND r.abstract_id >= range.lo
                ORDER BY r.fingerprint, r.abstract_id LIMIT 1
            ) <= range.hi
    );
