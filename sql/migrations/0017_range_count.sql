-- What `status` answers from: counting 3.68 million abstracts anew takes a minute.
CREATE TABLE sum_assets.range_count (
    lo bigint NOT NULL,
    hi bigint NOT NULL,
    changes bigint NOT NULL DEFAULT 0,
    counted_at timestamptz,
    state jsonb,
    PRIMARY KEY (lo, hi)
);

COMMENT ON TABLE sum_assets.range_count IS 'The counts of ID ranges, as runs and `verify` found them last';
COMMENT ON COLUMN sum_assets.range_count.changes IS
    'How often somebody began to change results or abstracts of the range: a count that began before is not recorded';
COMMENT ON COLUMN sum_assets.range_count.counted_at IS 'NULL since the range began to change, until it is counted again';
COMMENT ON COLUMN sum_assets.range_count.state IS 'The numbers that `verify --json` shows';
