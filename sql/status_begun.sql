-- Those of the ranges of which anything was generated, rejected or published.
SELECT range.lo, range.hi
FROM unnest(%(los)s::bigint[], %(his)s::bigint[]) AS range (lo, hi)
WHERE EXISTS (SELECT FROM sum_assets.abstract_summary AS p WHERE p.abstract_id BETWEEN range.lo AND range.hi)
   OR EXISTS (
        SELECT FROM sum_assets.summarizer_config AS c
        WHERE EXISTS (
                SELECT FROM sum_assets.generated_summary AS g
                WHERE g.fingerprint = c.fingerprint AND g.abstract_id BETWEEN range.lo AND range.hi
            ) OR EXISTS (
                SELECT FROM sum_assets.rejected_abstract AS r
                WHERE r.fingerprint = c.fingerprint AND r.abstract_id BETWEEN range.lo AND range.hi
            )
    );
