-- A range compared with one fingerprint: the given one, else the one it is published under, else its newest.
-- content_hash is that of source_profile.sql. The texts of summaries are compared before the other joins, which
-- would carry them along.
WITH hashed AS (
    SELECT abstract_id, abstract, sum_assets.source_hash(abstract) AS source_hash
    FROM sum_assets.source_abstract
    WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
    OFFSET 0  -- keeps the planner from hashing once for each use below
),
listed AS (
    SELECT abstract_id,
           count(*) AS times,
           (array_agg(source_hash ORDER BY abstract))[1] AS source_hash,
           string_agg(abstract_id || ':' || encode(source_hash, 'hex'), ',' ORDER BY abstract) AS content
    FROM hashed
    GROUP BY abstract_id
),
newest AS (
    SELECT c.fingerprint
    FROM sum_assets.summarizer_config AS c
    CROSS JOIN LATERAL (
        SELECT greatest(
            (SELECT max(g.created_at) FROM sum_assets.generated_summary AS g
             WHERE g.fingerprint = c.fingerprint AND g.abstract_id BETWEEN %(lo)s AND %(hi)s),
            (SELECT max(r.created_at) FROM sum_assets.rejected_abstract AS r
             WHERE r.fingerprint = c.fingerprint AND r.abstract_id BETWEEN %(lo)s AND %(hi)s)
        ) AS at
    ) AS result
    WHERE result.at IS NOT NULL
    ORDER BY result.at DESC
    LIMIT 1
),
chosen AS (
    SELECT coalesce(
        %(fingerprint)s::text,
        (SELECT mode() WITHIN GROUP (ORDER BY fingerprint)
         FROM sum_assets.abstract_summary WHERE abstract_id BETWEEN %(lo)s AND %(hi)s),
        (SELECT fingerprint FROM newest)
    ) AS fingerprint
),
results AS (
    SELECT abstract_id, g.abstract_id AS generated_id, g.source_hash AS generated_hash,
           p.abstract_id AS published_id, p.source_hash AS published_hash,
           (p.summary, p.source_hash, p.fingerprint) IS DISTINCT FROM (g.summary, g.source_hash, g.fingerprint) AS differ
    FROM (
        SELECT * FROM sum_assets.generated_summary
        WHERE fingerprint = (SELECT fingerprint FROM chosen) AND abstract_id BETWEEN %(lo)s AND %(hi)s
    ) AS g
    FULL JOIN (
        SELECT * FROM sum_assets.abstract_summary WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
    ) AS p USING (abstract_id)
),
rejected AS (
    SELECT r.abstract_id, r.source_hash FROM sum_assets.rejected_abstract AS r
    WHERE r.fingerprint = (SELECT fingerprint FROM chosen) AND r.abstract_id BETWEEN %(lo)s AND %(hi)s
)
SELECT (SELECT fingerprint FROM chosen) AS fingerprint,
       count(l.abstract_id) AS source,
       count(s.generated_id) FILTER (WHERE l.abstract_id IS NOT NULL) AS summarized,
       count(r.abstract_id) FILTER (WHERE l.abstract_id IS NOT NULL) AS rejected,
       count(s.published_id) AS published,
       count(*) FILTER (
           WHERE l.abstract_id IS NOT NULL AND s.generated_id IS NULL AND r.abstract_id IS NULL
       ) AS missing,
       count(*) FILTER (
           WHERE s.generated_hash <> l.source_hash OR r.source_hash <> l.source_hash OR s.published_hash <> l.source_hash
       ) AS stale,
       count(*) FILTER (
           WHERE l.abstract_id IS NOT NULL
             AND coalesce(s.generated_hash <> l.source_hash, true)
             AND coalesce(r.source_hash <> l.source_hash, true)
       ) AS pending,
       count(*) FILTER (
           WHERE l.times > 1 OR (s.generated_id IS NOT NULL AND r.abstract_id IS NOT NULL)
       ) AS duplicates,
       count(*) FILTER (WHERE s.published_id IS NOT NULL AND l.abstract_id IS NULL) AS orphans,
       count(*) FILTER (WHERE l.abstract_id IS NOT NULL AND s.differ) AS differing,
       (SELECT encode(sha256(convert_to(coalesce(string_agg(content, ',' ORDER BY abstract_id), ''), 'UTF8')), 'hex')
        FROM listed) AS content_hash
FROM listed AS l
FULL JOIN results AS s USING (abstract_id)
FULL JOIN rejected AS r USING (abstract_id);
