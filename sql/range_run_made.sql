-- The ID ranges that runs have finished under each fingerprint, and what the fingerprint is.
SELECT DISTINCT fingerprint, c.settings ->> 'model' AS model, c.settings ->> 'engine' AS engine,
       c.settings ->> 'precision' AS precision, r.lo, r.hi
FROM sum_assets.range_run AS r JOIN sum_assets.summarizer_config AS c USING (fingerprint)
WHERE NOT r.is_pilot
ORDER BY fingerprint, r.lo;
