-- How fast the corpus goes, for `status`.
CREATE TABLE sum_assets.range_run (
    fingerprint text NOT NULL REFERENCES sum_assets.summarizer_config ON DELETE CASCADE,
    lo bigint NOT NULL,
    hi bigint NOT NULL,
    run_id text NOT NULL,
    rows bigint NOT NULL,
    began_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE sum_assets.range_run IS 'What runs have summarized or rejected, range by range, and when';
COMMENT ON COLUMN sum_assets.range_run.rows IS 'Abstracts; those of a run that was stopped or killed are in no row';
COMMENT ON COLUMN sum_assets.range_run.began_at IS 'By the clock of the server, which all machines share';
