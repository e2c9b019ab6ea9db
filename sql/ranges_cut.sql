-- Cuts the IDs in lo..hi into pieces of about equal counts, at most `rows`: the last ID of each. The larger pieces come
-- first, as with ntile(), which would hold all IDs at once.
WITH ids AS NOT MATERIALIZED (
    SELECT DISTINCT abstract_id FROM sum_assets.source_abstract WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
), pieces AS (
    SELECT total / number AS size, total %% number AS larger
    FROM (
        SELECT count(*) AS total, greatest(ceil(count(*)::numeric / %(rows)s), 1)::bigint AS number FROM ids
    ) AS counted
)
SELECT abstract_id AS hi
FROM (SELECT abstract_id, row_number() OVER (ORDER BY abstract_id) AS at FROM ids) AS numbered, pieces
WHERE CASE
    WHEN at <= larger * (size + 1) THEN at %% (size + 1) = 0
    ELSE (at - larger * (size + 1)) %% size = 0
END
ORDER BY abstract_id;
