-- Of the abstracts that two cells summarized: how many, and how many alike to the letter.
SELECT count(*), count(*) FILTER (WHERE a.summary = b.summary)
FROM sum_assets.benchmark_summary AS a
JOIN sum_assets.benchmark_summary AS b USING (abstract_id)
WHERE a.cell = %s AND b.cell = %s;
