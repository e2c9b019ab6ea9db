-- Cuts the IDs in lo..hi into pieces of exactly `rows`, counted upwards or downwards from the ranges there
-- are, and leaves the incomplete last one out: the ID at the far end of each.
SELECT abstract_id
FROM (
    SELECT abstract_id,
           row_number() OVER (ORDER BY CASE WHEN %(upwards)s THEN abstract_id ELSE -abstract_id END) AS n
    FROM (
        SELECT DISTINCT abstract_id FROM sum_assets.source_abstract
        WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
    ) AS ids
) AS numbered
WHERE n %% %(rows)s = 0
ORDER BY n;
