-- The first ID of a range that the source lists more than once.
SELECT abstract_id FROM sum_assets.source_abstract
WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
GROUP BY abstract_id
HAVING count(*) > 1
ORDER BY abstract_id
LIMIT 1;
