-- What a gate and a projection need beside the rate.
ALTER TABLE sum_assets.benchmark_summary
    ADD COLUMN input_tokens integer NOT NULL DEFAULT 0,
    ADD COLUMN output_tokens integer NOT NULL DEFAULT 0,
    ADD COLUMN finish_reason text NOT NULL DEFAULT 'stop';

ALTER TABLE sum_assets.benchmark_result
    ADD COLUMN batches jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN resolved jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN device_name text NOT NULL DEFAULT '',
    ADD COLUMN peak_address_bytes bigint,
    ADD COLUMN device_watts double precision,
    ADD COLUMN device_utilization double precision;

COMMENT ON COLUMN sum_assets.benchmark_result.batches IS
    'Of each list that the engine yielded: rows, tokens of the longest input, seconds of the generate phase';
COMMENT ON COLUMN sum_assets.benchmark_result.device_watts IS 'Mean over the replicate; NULL where no driver tells';
COMMENT ON COLUMN sum_assets.benchmark_result.device_utilization IS
    'Mean share of time in which a kernel ran, 0 to 1; NULL where no driver tells';

CREATE TABLE sum_assets.range_profile (
    lo bigint NOT NULL,
    hi bigint NOT NULL,
    rows bigint NOT NULL,
    percentiles integer[] NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lo, hi)
);

COMMENT ON TABLE sum_assets.range_profile IS
    'Lengths of ID ranges in characters, as `abstracts` found them: the minimum, p5, p25, p50, p75, p95, p99, the maximum';
