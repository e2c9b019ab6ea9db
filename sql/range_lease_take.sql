INSERT INTO sum_assets.range_lease (token, ids, run_id, host, boot_id, pid, process_start)
VALUES (%(token)s, int8range(%(lo)s, %(hi)s, '[]'), %(run_id)s, %(host)s, %(boot_id)s, %(pid)s, %(process_start)s);
