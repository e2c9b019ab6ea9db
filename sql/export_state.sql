-- How much of a range is published and rejected, and a text that changes whenever either does.
SELECT p.rows, r.rows, concat_ws(' ', p.rows, p.ids, p.newest, r.rows, r.ids, r.newest)
FROM (
    SELECT count(*) AS rows, sum(abstract_id) AS ids, extract(epoch FROM max(published_at)) AS newest
    FROM sum_assets.abstract_summary WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
) AS p
CROSS JOIN (
    SELECT count(*) AS rows, sum(abstract_id) AS ids, extract(epoch FROM max(created_at)) AS newest
    FROM sum_assets.rejected_abstract
    WHERE abstract_id BETWEEN %(lo)s AND %(hi)s AND fingerprint IN (
        SELECT fingerprint FROM sum_assets.abstract_summary WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
    )
) AS r;
