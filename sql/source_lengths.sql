-- Rows of the whole source, those of them with a text, and the lengths of these in characters.
SELECT count(*) AS read,
       count(*) FILTER (WHERE abstract ~ '[^[:space:]]') AS rows,
       coalesce(
           percentile_disc(%(fractions)s::float[]) WITHIN GROUP (ORDER BY length(abstract))
               FILTER (WHERE abstract ~ '[^[:space:]]'),
           '{}'
       ) AS percentiles
FROM sum_assets.source_abstract;
