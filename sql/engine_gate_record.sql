-- Another run may have judged the same meanwhile.
INSERT INTO sum_assets.engine_gate (fingerprint, engine, passes, reason, quality)
VALUES (%(fingerprint)s, %(engine)s, %(passes)s, %(reason)s, %(quality)s)
ON CONFLICT (fingerprint) DO NOTHING;
