-- Cuts the IDs in lo..hi into `parts` pieces of about equal counts: the last ID of each.
SELECT max(abstract_id) AS hi, count(*) AS abstracts
FROM (
    SELECT abstract_id, ntile(%(parts)s) OVER (ORDER BY abstract_id) AS part
    FROM (
        SELECT DISTINCT abstract_id FROM sum_assets.source_abstract
        WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
    ) AS ids
) AS cut
GROUP BY part
ORDER BY part;
