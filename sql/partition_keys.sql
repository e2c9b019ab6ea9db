-- The partition keys of ID ranges in Dagster's own table, in their order.
SELECT partition FROM dagster.dynamic_partitions WHERE partitions_def_name = 'id_range' ORDER BY partition COLLATE "C";
