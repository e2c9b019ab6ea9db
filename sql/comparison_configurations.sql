-- What each fingerprint has in lo..hi, and how long its runs worked on ranges within, the oldest fingerprint first.
SELECT c.fingerprint, c.settings, g.summarized, r.rejected, p.published, g.output_tokens, g.capped,
       w.rows AS worked_rows, w.seconds AS worked_seconds
FROM sum_assets.summarizer_config AS c
CROSS JOIN LATERAL (
    SELECT count(*) AS summarized, avg(output_tokens)::float AS output_tokens,
           avg((finish_reason = 'length')::int)::float AS capped
    FROM sum_assets.generated_summary
    WHERE fingerprint = c.fingerprint AND abstract_id BETWEEN %(lo)s AND %(hi)s
) AS g
CROSS JOIN LATERAL (
    SELECT count(*) AS rejected
    FROM sum_assets.rejected_abstract
    WHERE fingerprint = c.fingerprint AND abstract_id BETWEEN %(lo)s AND %(hi)s
) AS r
CROSS JOIN LATERAL (
    SELECT count(*) AS published
    FROM sum_assets.abstract_summary
    WHERE fingerprint = c.fingerprint AND abstract_id BETWEEN %(lo)s AND %(hi)s
) AS p
CROSS JOIN LATERAL (
    SELECT sum(rows)::bigint AS rows, sum(extract(epoch FROM ended_at - began_at))::float AS seconds
    FROM sum_assets.range_run
    WHERE fingerprint = c.fingerprint AND lo >= %(lo)s AND hi <= %(hi)s
) AS w
WHERE g.summarized + r.rejected > 0
ORDER BY c.created_at, c.fingerprint;
