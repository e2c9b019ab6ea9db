-- Abstracts as they are now, each with its hash. An ID that was deleted is left out; of a repeated one, the first text.
SELECT abstract_id,
       coalesce(min(abstract), '') AS text,
       sum_assets.source_hash(min(abstract)) AS source_hash,
       min(abstract) IS NULL AS is_null
FROM sum_assets.source_abstract
WHERE abstract_id = ANY (%(ids)s)
GROUP BY abstract_id;
