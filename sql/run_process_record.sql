INSERT INTO sum_assets.run_process (run_id, host, boot_id, pid, process_start)
VALUES (%(run_id)s, %(host)s, %(boot_id)s, %(pid)s, %(process_start)s)
ON CONFLICT (run_id) DO UPDATE
SET host = excluded.host, boot_id = excluded.boot_id, pid = excluded.pid, process_start = excluded.process_start,
    recorded_at = excluded.recorded_at, renewed_at = excluded.renewed_at;
