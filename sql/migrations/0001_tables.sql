-- Every statement that compares an abstract with what was made of it does so by this hash.
-- sha256 rather than md5: servers in FIPS mode have no md5.
CREATE FUNCTION sum_assets.source_hash(abstract text) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN substr(sha256(convert_to(coalesce(abstract, ''), 'UTF8')), 1, 16);

COMMENT ON FUNCTION sum_assets.source_hash IS 'First 16 bytes of the SHA-256 of an abstract in UTF-8';

CREATE TABLE sum_assets.corpus_abstract (
    abstract_id bigint PRIMARY KEY,
    title text,
    abstract text NOT NULL,
    version bigint NOT NULL DEFAULT 0,
    loaded_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE sum_assets.corpus_abstract IS 'Abstracts loaded by `sum-assets load`';
COMMENT ON COLUMN sum_assets.corpus_abstract.version IS
    'Newer is larger: of two records of one ID the larger wins, the later read of equals';

CREATE VIEW sum_assets.source_abstract AS
    SELECT abstract_id, abstract FROM sum_assets.corpus_abstract;

COMMENT ON VIEW sum_assets.source_abstract IS 'What is summarized: (abstract_id bigint, abstract text)';

CREATE TABLE sum_assets.summarizer_config (
    fingerprint text PRIMARY KEY,
    settings jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sum_assets.generated_summary (
    fingerprint text NOT NULL REFERENCES sum_assets.summarizer_config,
    abstract_id bigint NOT NULL,
    source_hash bytea NOT NULL,
    summary text NOT NULL,
    input_tokens integer NOT NULL,
    output_tokens integer NOT NULL,
    input_truncated boolean NOT NULL,
    finish_reason text NOT NULL CHECK (finish_reason IN ('stop', 'length')),
    run_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (fingerprint, abstract_id)
);

COMMENT ON TABLE sum_assets.generated_summary IS 'The durable work of runs, published by `summary_table`';

CREATE TABLE sum_assets.rejected_abstract (
    fingerprint text NOT NULL REFERENCES sum_assets.summarizer_config,
    abstract_id bigint NOT NULL,
    source_hash bytea NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    run_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (fingerprint, abstract_id)
);

COMMENT ON TABLE sum_assets.rejected_abstract IS 'Abstracts that have no summary, and why';

CREATE TABLE sum_assets.abstract_summary (
    abstract_id bigint PRIMARY KEY,
    summary text NOT NULL,
    source_hash bytea NOT NULL,
    fingerprint text NOT NULL REFERENCES sum_assets.summarizer_config,
    run_id text NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE sum_assets.abstract_summary IS 'The published summaries: what readers query';
