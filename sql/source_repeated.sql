-- How many IDs between two the source lists more than once, and the first of them.
SELECT count(*), min(abstract_id) FROM (
    SELECT abstract_id FROM sum_assets.source_abstract
    WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
    GROUP BY abstract_id
    HAVING count(*) > 1
) AS repeated;
