-- Source rows that lie in none of the ranges, those without a usable ID among them.
SELECT count(*)
FROM sum_assets.source_abstract AS s
WHERE s.abstract_id IS NULL
   OR NOT EXISTS (
        SELECT FROM unnest(%(los)s::bigint[], %(his)s::bigint[]) AS r (lo, hi)
        WHERE s.abstract_id BETWEEN r.lo AND r.hi
    );
