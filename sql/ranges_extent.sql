-- What the source holds below, inside and above lo..hi.
SELECT count(DISTINCT abstract_id) FILTER (WHERE abstract_id BETWEEN %(lo)s AND %(hi)s) AS within,
       count(DISTINCT abstract_id) FILTER (WHERE abstract_id BETWEEN 0 AND %(lo)s - 1) AS below,
       count(DISTINCT abstract_id) FILTER (WHERE abstract_id BETWEEN %(hi)s + 1 AND %(largest)s) AS above
FROM sum_assets.source_abstract
WHERE abstract_id BETWEEN 0 AND %(largest)s;
