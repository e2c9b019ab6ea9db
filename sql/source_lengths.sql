-- Rows of the whole source, and their lengths in characters.
SELECT count(*) AS rows,
       coalesce(
           percentile_disc(%(fractions)s::float[]) WITHIN GROUP (ORDER BY length(abstract)), '{}'
       ) AS percentiles
FROM sum_assets.source_abstract;
