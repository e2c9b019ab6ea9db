-- A range of the source as it is now; lengths, in characters, of what has a text. verify_range.sql computes the same
-- content_hash.
SELECT count(*) AS rows,
       count(DISTINCT abstract_id) AS ids,
       count(*) FILTER (WHERE abstract IS NULL) AS null_rows,
       count(*) FILTER (WHERE abstract = '') AS empty_rows,
       count(*) FILTER (WHERE abstract <> '' AND abstract !~ '[^[:space:]]') AS blank_rows,
       count(*) FILTER (WHERE length(abstract) > %(over_long)s) AS over_long_rows,
       coalesce(avg(length(abstract)) FILTER (WHERE abstract ~ '[^[:space:]]'), 0)::float AS mean_characters,
       coalesce(
           percentile_disc(%(fractions)s::float[]) WITHIN GROUP (ORDER BY length(abstract))
               FILTER (WHERE abstract ~ '[^[:space:]]'),
           '{}'
       ) AS percentiles,
       encode(
           sha256(convert_to(coalesce(string_agg(
               abstract_id || ':' || encode(sum_assets.source_hash(abstract), 'hex'), ',' ORDER BY abstract_id, abstract
           ), ''), 'UTF8')),
           'hex'
       ) AS content_hash
FROM sum_assets.source_abstract
WHERE abstract_id BETWEEN %(lo)s AND %(hi)s;
