-- What triggers on the user's table append, on request: `sum-assets init --track-changes`. There is no index and no
-- constraint, so that nobody who writes that table waits for another.
CREATE TABLE sum_assets.source_change (
    abstract_id bigint
);

COMMENT ON TABLE sum_assets.source_change IS 'IDs that others have added, edited or deleted, until somebody looks';
COMMENT ON COLUMN sum_assets.source_change.abstract_id IS 'NULL where all may have changed';

ALTER TABLE sum_assets.range_count
    ADD COLUMN edited_at timestamptz;

COMMENT ON COLUMN sum_assets.range_count.edited_at IS 'When an edit was last found in source_change';
