-- Two sessions that register ID ranges at once cannot register ranges that overlap.
CREATE TABLE sum_assets.id_range (
    ids int8range NOT NULL,
    EXCLUDE USING gist (ids WITH &&)
);

COMMENT ON TABLE sum_assets.id_range IS
    'ID ranges registered as partitions in Dagster, kept up to date whenever some are added. No two overlap';
