-- Some abstracts of a range beside their summaries under one fingerprint.
SELECT g.abstract_id, s.abstract, g.summary
FROM sum_assets.generated_summary AS g JOIN sum_assets.source_abstract AS s USING (abstract_id)
WHERE g.fingerprint = %(fingerprint)s AND g.abstract_id BETWEEN %(lo)s AND %(hi)s
ORDER BY g.abstract_id
LIMIT 3;
