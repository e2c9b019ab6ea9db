-- Decide what becomes of the newest record of each ID in the file, do it, and count the decisions.
-- Versions compare within one scheme. Between schemes the later load wins, and is counted as `replace`.
-- With keep_titles the file has no titles, and those stay that are stored.
WITH newest AS (
    SELECT DISTINCT ON (abstract_id) abstract_id, title, abstract, version, version_scheme, is_deletion
      FROM pg_temp.load_record
     ORDER BY abstract_id, version DESC, (abstract IS NULL AND NOT is_deletion), position DESC
), decided AS MATERIALIZED (
    SELECT n.abstract_id, t.title, n.abstract, n.version, n.version_scheme,
           CASE
               WHEN n.abstract IS NULL AND s.abstract_id IS NULL THEN CASE WHEN n.is_deletion THEN 'note' END
               WHEN n.abstract IS NULL AND n.version_scheme = s.version_scheme AND n.version < s.version THEN 'late'
               WHEN n.is_deletion THEN 'withdraw'
               WHEN n.abstract IS NULL AND n.version_scheme = s.version_scheme AND n.version > s.version THEN 'withdraw'
               WHEN n.abstract IS NULL THEN 'keep'
               WHEN n.version_scheme = w.version_scheme AND n.version < w.version THEN 'older'
               WHEN s.abstract_id IS NULL THEN 'insert'
               WHEN n.version_scheme = s.version_scheme AND n.version < s.version THEN 'older'
               WHEN (t.title, n.abstract) IS DISTINCT FROM (s.title, s.abstract)
                    THEN CASE WHEN n.version_scheme = s.version_scheme THEN 'update' ELSE 'replace' END
               WHEN n.version_scheme = 'none' OR (n.version_scheme = s.version_scheme AND n.version = s.version)
                    THEN 'unchanged'
               ELSE 'update'
           END AS action
      FROM newest AS n
      LEFT JOIN sum_assets.corpus_abstract AS s USING (abstract_id)
      LEFT JOIN sum_assets.corpus_withdrawal AS w USING (abstract_id)
     CROSS JOIN LATERAL (SELECT CASE WHEN %(keep_titles)s THEN s.title ELSE n.title END AS title) AS t
), stored AS (
    INSERT INTO sum_assets.corpus_abstract AS c (abstract_id, title, abstract, version, version_scheme)
    SELECT abstract_id, title, abstract, version, version_scheme
      FROM decided
     WHERE action IN ('insert', 'update', 'replace')
    ON CONFLICT (abstract_id) DO UPDATE
       SET title = excluded.title, abstract = excluded.abstract, version = excluded.version,
           version_scheme = excluded.version_scheme, loaded_at = now()
), removed AS (
    DELETE FROM sum_assets.corpus_abstract AS c
     USING decided AS d
     WHERE d.abstract_id = c.abstract_id AND d.action = 'withdraw'
), withdrawn AS (
    INSERT INTO sum_assets.corpus_withdrawal AS w (abstract_id, version, version_scheme)
    SELECT abstract_id, version, version_scheme FROM decided WHERE action IN ('withdraw', 'note')
    ON CONFLICT (abstract_id) DO UPDATE
       SET version = excluded.version, version_scheme = excluded.version_scheme, withdrawn_at = now()
     WHERE w.version_scheme <> excluded.version_scheme OR w.version < excluded.version
), restored AS (
    DELETE FROM sum_assets.corpus_withdrawal AS w
     USING decided AS d
     WHERE d.abstract_id = w.abstract_id
       AND d.version_scheme = w.version_scheme
       AND d.action IN ('insert', 'update', 'replace')
), changed AS (
    INSERT INTO pg_temp.load_changed
    SELECT abstract_id FROM decided WHERE action IN ('insert', 'update', 'replace', 'withdraw')
)
SELECT action, count(*) FROM decided WHERE action IS NOT NULL GROUP BY action;
