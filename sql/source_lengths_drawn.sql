-- The lengths in characters of the first `drawn` abstracts of the source by a hash of the ID.
WITH drawn AS (
    SELECT abstract_id
    FROM sum_assets.source_abstract
    ORDER BY sha256(convert_to(abstract_id::text, 'UTF8'))
    LIMIT %(drawn)s
)
SELECT count(*) AS rows,
       coalesce(
           percentile_disc(%(fractions)s::float[]) WITHIN GROUP (ORDER BY length(abstract)), '{}'
       ) AS percentiles
FROM drawn JOIN sum_assets.source_abstract USING (abstract_id);
