-- Rows of a table in each of the spans lo..hi that has some: an index on the ID serves each, and both ends.
SELECT span.lo, span.hi, found.rows, ends.first, ends.last
FROM unnest(%(los)s::bigint[], %(his)s::bigint[]) AS span (lo, hi)
CROSS JOIN LATERAL (
    SELECT count(*) AS rows FROM {table} AS t WHERE t.abstract_id BETWEEN span.lo AND span.hi
) AS found
CROSS JOIN LATERAL (
    SELECT (SELECT min(t.abstract_id) FROM {table} AS t WHERE t.abstract_id BETWEEN span.lo AND span.hi) AS first,
           (SELECT max(t.abstract_id) FROM {table} AS t WHERE t.abstract_id BETWEEN span.lo AND span.hi) AS last
    WHERE found.rows > 0
) AS ends
ORDER BY span.lo;
