-- Every engine with a model is judged now, transformers included.
COMMENT ON TABLE sum_assets.engine_gate IS
    'Verdicts on engines before their first full run, each under one fingerprint: a full run refuses one that failed';
COMMENT ON COLUMN sum_assets.engine_gate.quality IS
    'What was measured; `reference` says what wrote the texts to compare with, `seconds` how long judging took';
