SELECT abstract_id, min(abstract) AS abstract, sum_assets.source_hash(min(abstract)) AS source_hash
FROM sum_assets.source_abstract
WHERE abstract_id = ANY (%(ids)s)
GROUP BY abstract_id;
