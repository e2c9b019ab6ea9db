-- What the source holds below, inside and above lo..hi, and what no partition key can name.
SELECT count(DISTINCT abstract_id) FILTER (WHERE abstract_id BETWEEN 0 AND %(largest)s) AS abstracts,
       min(abstract_id) FILTER (WHERE abstract_id BETWEEN 0 AND %(largest)s) AS lowest,
       max(abstract_id) FILTER (WHERE abstract_id BETWEEN 0 AND %(largest)s) AS highest,
       count(DISTINCT abstract_id) FILTER (WHERE abstract_id BETWEEN 0 AND %(lo)s - 1) AS below,
       count(DISTINCT abstract_id) FILTER (WHERE abstract_id BETWEEN %(hi)s + 1 AND %(largest)s) AS above,
       count(*) FILTER (WHERE abstract_id IS NULL OR abstract_id NOT BETWEEN 0 AND %(largest)s) AS unusable
FROM sum_assets.source_abstract;
