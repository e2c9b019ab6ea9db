-- `rows` IDs, the same every time: the corpus, or the first `drawn` abstracts of it by a hash of the ID, cut into
-- strata of equal counts by length, and from each the first by that hash. Only what is drawn is read.
WITH drawn AS (
    SELECT abstract_id
    FROM sum_assets.source_abstract
    ORDER BY sha256(convert_to(abstract_id::text, 'UTF8'))
    LIMIT %(drawn)s
)
SELECT abstract_id
FROM (
    SELECT abstract_id, stratum,
           row_number() OVER (PARTITION BY stratum ORDER BY sha256(convert_to(abstract_id::text, 'UTF8'))) AS place
    FROM (
        SELECT abstract_id, ntile(%(strata)s) OVER (ORDER BY length(min(abstract)), abstract_id) AS stratum
        FROM drawn JOIN sum_assets.source_abstract USING (abstract_id)
        WHERE abstract ~ '[^[:space:]]'
        GROUP BY abstract_id
    ) AS cut
) AS placed
ORDER BY place, stratum
LIMIT %(rows)s;
