-- What a cell wrote, beside what it was written from. A title counts only where it belongs to the same text.
SELECT written.abstract_id, written.summary, written.finish_reason = 'length' AS capped, written.input_tokens,
       source.abstract, corpus.title
FROM sum_assets.benchmark_summary AS written
CROSS JOIN LATERAL (
    SELECT min(abstract) AS abstract FROM sum_assets.source_abstract WHERE abstract_id = written.abstract_id
) AS source
LEFT JOIN sum_assets.corpus_abstract AS corpus
    ON corpus.abstract_id = written.abstract_id AND corpus.abstract = source.abstract
WHERE written.cell = %s;
