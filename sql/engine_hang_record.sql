INSERT INTO sum_assets.engine_hang (fingerprint, abstract_id, source_hash, group_size, run_id)
SELECT %(fingerprint)s, abstract_id, source_hash, cardinality(%(ids)s::bigint[]), %(run_id)s
FROM unnest(%(ids)s::bigint[], %(hashes)s::bytea[]) AS hung (abstract_id, source_hash);
