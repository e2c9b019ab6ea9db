-- A pilot forecasts the full run only where nothing else does.
ALTER TABLE sum_assets.range_run
    ADD COLUMN is_pilot boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN sum_assets.range_run.is_pilot IS 'Whether it took some abstracts of the range alone';
