-- The process of each run, also of runs that have ended.
SELECT run_id, host, boot_id, pid, process_start, recorded_at,
       renewed_at < clock_timestamp() - make_interval(secs => %(expiry)s) AS expired
FROM sum_assets.run_process;
