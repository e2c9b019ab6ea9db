INSERT INTO sum_assets.benchmark_result (
    cell, preset, replicate, host, settings, resolved, sample_hash, outcome, detail, abstracts, seconds, phases,
    batches, output_tokens, peak_process_bytes, peak_address_bytes, device_name, peak_device_bytes, device_watts,
    device_utilization
) VALUES (
    %(cell)s, %(preset)s, %(replicate)s, %(host)s, %(settings)s, %(resolved)s, %(sample_hash)s, %(outcome)s,
    %(detail)s, %(abstracts)s, %(seconds)s, %(phases)s, %(batches)s, %(output_tokens)s, %(peak_process_bytes)s,
    %(peak_address_bytes)s, %(device_name)s, %(peak_device_bytes)s, %(device_watts)s, %(device_utilization)s
);
