-- In which process each run of Dagster lives: Dagster does not know whether a run has ended with its machine.
CREATE TABLE sum_assets.run_process (
    run_id text PRIMARY KEY,
    host text NOT NULL,
    boot_id text NOT NULL,
    pid integer NOT NULL,
    process_start text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    renewed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE sum_assets.run_process IS 'One row for each run of Dagster that has begun; those of ended runs are deleted';
COMMENT ON COLUMN sum_assets.run_process.boot_id IS 'Within which a process ID means something';
COMMENT ON COLUMN sum_assets.run_process.process_start IS 'Tells the process from a later one of the same ID';
COMMENT ON COLUMN sum_assets.run_process.renewed_at IS 'By the clock of the server, which all machines share';
