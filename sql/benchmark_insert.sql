INSERT INTO sum_assets.benchmark_result (
    cell, preset, replicate, host, settings, sample_hash, outcome, detail, abstracts, seconds, phases,
    output_tokens, peak_process_bytes, peak_device_bytes
) VALUES (
    %(cell)s, %(preset)s, %(replicate)s, %(host)s, %(settings)s, %(sample_hash)s, %(outcome)s, %(detail)s,
    %(abstracts)s, %(seconds)s, %(phases)s, %(output_tokens)s, %(peak_process_bytes)s, %(peak_device_bytes)s
);
