DELETE FROM dagster.dynamic_partitions WHERE partitions_def_name = 'id_range' AND partition = ANY (%(keys)s);
