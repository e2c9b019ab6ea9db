-- Stores the records of some pages of the file's table, all of which are new.
INSERT INTO sum_assets.corpus_abstract (abstract_id, title, abstract, version, version_scheme)
SELECT abstract_id, title, abstract, version, version_scheme
  FROM pg_temp.load_record
 WHERE ctid >= format('(%%s,0)', %(first)s::bigint)::tid AND ctid < format('(%%s,0)', %(end)s::bigint)::tid;
