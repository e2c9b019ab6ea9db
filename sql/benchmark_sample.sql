-- `rows` IDs, the same every time: the corpus cut into strata of equal counts by length, and from each the
-- first by a hash of the ID.
SELECT abstract_id
FROM (
    SELECT abstract_id, stratum,
           row_number() OVER (PARTITION BY stratum ORDER BY sha256(convert_to(abstract_id::text, 'UTF8'))) AS place
    FROM (
        SELECT abstract_id, ntile(%(strata)s) OVER (ORDER BY length(min(abstract)), abstract_id) AS stratum
        FROM sum_assets.source_abstract
        WHERE abstract ~ '[^[:space:]]'
        GROUP BY abstract_id
    ) AS cut
) AS placed
ORDER BY place, stratum
LIMIT %(rows)s;
