-- What was not finished when an engine hung and its process was ended: the next process tries these abstracts apart.
CREATE TABLE sum_assets.engine_hang (
    fingerprint text NOT NULL REFERENCES sum_assets.summarizer_config ON DELETE CASCADE,
    abstract_id bigint NOT NULL,
    source_hash bytea NOT NULL,
    together integer NOT NULL,
    run_id text NOT NULL,
    hung_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE sum_assets.engine_hang IS 'Abstracts that an engine may have hung on, until their range is done';
COMMENT ON COLUMN sum_assets.engine_hang.together IS 'How many of them it may have been that time';
