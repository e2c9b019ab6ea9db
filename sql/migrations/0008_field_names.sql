-- Columns take the field's words, and comments say what the columns hold today.
ALTER TABLE sum_assets.engine_hang RENAME COLUMN together TO group_size;
ALTER TABLE sum_assets.range_lease RENAME COLUMN machine TO boot_id;
ALTER TABLE sum_assets.range_lease RENAME COLUMN birth TO process_start;
ALTER TABLE sum_assets.device_loss RENAME COLUMN said TO message;

COMMENT ON COLUMN sum_assets.engine_hang.group_size IS
    'Number of abstracts that were unfinished at that hang, this one included';
COMMENT ON COLUMN sum_assets.range_lease.boot_id IS
    'Boot of the host and, on Linux, process namespace: within them `pid` names one process at a time';
COMMENT ON COLUMN sum_assets.range_lease.process_start IS
    'When the process started: distinguishes it from a later process of the same `pid`';
COMMENT ON COLUMN sum_assets.range_lease.renewed_at IS 'Newest heartbeat, by the clock of the server';
COMMENT ON COLUMN sum_assets.range_lease.failure IS 'Why the last run of the range failed; a failed run holds nothing';
COMMENT ON TABLE sum_assets.device_loss IS
    'Each loss of a device to a run; `sum-assets devices reset` deletes those of its host';
COMMENT ON COLUMN sum_assets.device_loss.device IS
    'Name that torch gives the device on its host, with CUDA_VISIBLE_DEVICES where that is set';
COMMENT ON COLUMN sum_assets.device_loss.message IS 'Error message of the run that lost the device';
COMMENT ON COLUMN sum_assets.benchmark_result.batches IS
    'Of each list that the engine yielded: abstracts, input tokens, sum of their squares, seconds of the generate phase';
COMMENT ON COLUMN sum_assets.benchmark_result.device_watts IS
    'Mean over the replicate; NULL where the driver does not report it';
COMMENT ON COLUMN sum_assets.benchmark_result.device_utilization IS
    'Mean share of time in which a kernel ran, 0 to 1; NULL where the driver does not report it';
COMMENT ON TABLE sum_assets.engine_gate IS
    'Verdicts of the quality gate on engines that convert a model: a full run refuses one that failed';
