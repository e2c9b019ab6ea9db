CREATE TABLE sum_assets.benchmark_sweep (
    sweep_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sweep json NOT NULL,
    summarizer jsonb NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE sum_assets.benchmark_sweep IS 'Sweeps registered by `sum-assets sweep`; the newest is in use. In json, presets keep their order';

CREATE TABLE sum_assets.benchmark_result (
    result_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cell text NOT NULL,
    preset text NOT NULL,
    replicate integer NOT NULL,
    host text NOT NULL,
    settings jsonb NOT NULL,
    sample_hash text NOT NULL,
    outcome text NOT NULL CHECK (
        outcome IN ('ok', 'out_of_memory', 'unsupported', 'device_lost', 'killed', 'timeout', 'failed')
    ),
    detail text NOT NULL,
    abstracts integer NOT NULL,
    seconds double precision,
    phases jsonb NOT NULL,
    output_tokens integer NOT NULL,
    peak_process_bytes bigint,
    peak_device_bytes bigint,
    created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE sum_assets.benchmark_result IS 'One row per measured replicate of a preset';
COMMENT ON COLUMN sum_assets.benchmark_result.cell IS
    'Hash of what makes a measurement the same: preset, replicate, settings, sample, versions, host';

CREATE INDEX ON sum_assets.benchmark_result (cell);

CREATE TABLE sum_assets.benchmark_summary (
    cell text NOT NULL,
    abstract_id bigint NOT NULL,
    summary text NOT NULL,
    PRIMARY KEY (cell, abstract_id)
);

COMMENT ON TABLE sum_assets.benchmark_summary IS 'What each replicate wrote, to compare presets by';
