-- Of the first `drawn` abstracts of the source by a hash of the ID what source_lengths.sql has of all.
WITH drawn AS (
    SELECT abstract_id
    FROM sum_assets.source_abstract
    ORDER BY sha256(convert_to(abstract_id::text, 'UTF8'))
    LIMIT %(drawn)s
)
SELECT count(*) AS read,
       count(*) FILTER (WHERE abstract ~ '[^[:space:]]') AS rows,
       coalesce(
           percentile_disc(%(fractions)s::float[]) WITHIN GROUP (ORDER BY length(abstract))
               FILTER (WHERE abstract ~ '[^[:space:]]'),
           '{}'
       ) AS percentiles
FROM drawn JOIN sum_assets.source_abstract USING (abstract_id);
