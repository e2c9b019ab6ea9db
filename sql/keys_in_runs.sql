-- The first and the last partition key of each run of Dagster that waits, starts or works, if it has any.
SELECT coalesce(min(t.value) FILTER (WHERE t.key = 'dagster/asset_partition_range_start'),
                min(t.value) FILTER (WHERE t.key = 'dagster/partition')) AS first,
       coalesce(min(t.value) FILTER (WHERE t.key = 'dagster/asset_partition_range_end'),
                min(t.value) FILTER (WHERE t.key = 'dagster/partition')) AS last
FROM dagster.runs AS r JOIN dagster.run_tags AS t USING (run_id)
WHERE r.status IN ('QUEUED', 'NOT_STARTED', 'STARTING', 'STARTED')
  AND t.key IN ('dagster/partition', 'dagster/asset_partition_range_start', 'dagster/asset_partition_range_end')
GROUP BY r.run_id;
