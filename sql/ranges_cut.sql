-- Cuts the IDs in lo..hi into pieces of about equal counts, at most `rows`: the last ID of each.
WITH ids AS MATERIALIZED (
    SELECT DISTINCT abstract_id FROM sum_assets.source_abstract WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
), parts AS (
    SELECT ceil(count(*)::numeric / %(rows)s)::integer AS number FROM ids
)
SELECT max(abstract_id) AS hi
FROM (
    SELECT abstract_id, ntile((SELECT greatest(number, 1) FROM parts)) OVER (ORDER BY abstract_id) AS part FROM ids
) AS cut
GROUP BY part
ORDER BY part;
