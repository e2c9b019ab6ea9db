-- Of the summaries of a range under one fingerprint: how many there are, were made of a cut abstract, and were cut off.
SELECT count(*) AS summaries,
       count(*) FILTER (WHERE input_truncated) AS truncated,
       count(*) FILTER (WHERE finish_reason = 'length') AS capped
FROM sum_assets.generated_summary
WHERE fingerprint = %(fingerprint)s AND abstract_id BETWEEN %(lo)s AND %(hi)s;
