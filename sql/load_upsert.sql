-- Load the newest record of each ID that the file holds, unless the stored one is newer or the same.
-- A row that was inserted has no xmax: nobody has locked it for an update yet.
WITH newest AS (
    SELECT DISTINCT ON (abstract_id) abstract_id, title, abstract, version
      FROM pg_temp.load_record
     ORDER BY abstract_id, version DESC, position DESC
), changed AS (
    INSERT INTO sum_assets.corpus_abstract AS stored (abstract_id, title, abstract, version)
    SELECT abstract_id, title, abstract, version FROM newest
    ON CONFLICT (abstract_id) DO UPDATE
       SET title = excluded.title, abstract = excluded.abstract, version = excluded.version, loaded_at = now()
     WHERE excluded.version >= stored.version
       AND (excluded.title, excluded.abstract, excluded.version)
           IS DISTINCT FROM (stored.title, stored.abstract, stored.version)
    RETURNING stored.xmax = 0 AS inserted
)
SELECT count(*) FILTER (WHERE inserted) AS inserted, count(*) FILTER (WHERE NOT inserted) AS updated
  FROM changed;
