-- What became of engines that convert a model, when their summaries were first held against full precision.
CREATE TABLE sum_assets.engine_gate (
    fingerprint text PRIMARY KEY,
    engine text NOT NULL,
    passes boolean NOT NULL,
    reason text NOT NULL,
    quality jsonb NOT NULL,
    judged_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE sum_assets.engine_gate IS
    'Verdicts of the quality gate on engines other than transformers: a full run takes none that fails';
