INSERT INTO sum_assets.range_lease (token, ids, run_id, host, machine, pid, birth)
VALUES (%(token)s, int8range(%(lo)s, %(hi)s, '[]'), %(run_id)s, %(host)s, %(machine)s, %(pid)s, %(birth)s);
