-- Cuts the IDs in lo..hi, `total` of them, into pieces of about equal counts, at most `rows`: the last ID of each. The
-- larger pieces come first, as with ntile(), which would hold all IDs at once.
WITH pieces AS (
    SELECT %(total)s::bigint / number AS size, %(total)s::bigint %% number AS larger
    FROM (SELECT greatest(ceil(%(total)s::numeric / %(rows)s), 1)::bigint AS number) AS counted
)
SELECT abstract_id AS hi
FROM (
    SELECT abstract_id, row_number() OVER (ORDER BY abstract_id) AS at
    FROM (
        SELECT DISTINCT abstract_id FROM sum_assets.source_abstract WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
    ) AS ids
) AS numbered, pieces
WHERE CASE
    WHEN at <= larger * (size + 1) THEN at %% (size + 1) = 0
    ELSE (at - larger * (size + 1)) %% size = 0
END
ORDER BY abstract_id;
