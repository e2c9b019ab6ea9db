-- Rows of a table in each of the spans lo..hi that has some: an index on the ID serves each.
SELECT span.lo, span.hi, found.rows, found.first, found.last
FROM unnest(%(los)s::bigint[], %(his)s::bigint[]) AS span (lo, hi)
CROSS JOIN LATERAL (
    SELECT count(*) AS rows, min(t.abstract_id) AS first, max(t.abstract_id) AS last
    FROM {table} AS t
    WHERE t.abstract_id BETWEEN span.lo AND span.hi
) AS found
WHERE found.rows > 0
ORDER BY span.lo;
