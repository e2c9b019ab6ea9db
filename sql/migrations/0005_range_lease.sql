-- Who works on which IDs. A table, since the advisory locks of a session break behind transaction poolers.
CREATE TABLE sum_assets.range_lease (
    token text PRIMARY KEY,
    ids int8range NOT NULL,
    run_id text NOT NULL,
    host text NOT NULL,
    machine text NOT NULL,
    pid integer NOT NULL,
    birth text NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    renewed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    failure text,
    EXCLUDE USING gist (ids WITH &&)
);

COMMENT ON TABLE sum_assets.range_lease IS
    'One row for each range that a run works on, and for each whose last run failed';
COMMENT ON COLUMN sum_assets.range_lease.machine IS 'Within which a process ID means something';
COMMENT ON COLUMN sum_assets.range_lease.birth IS 'Tells the process from a later one of the same ID';
COMMENT ON COLUMN sum_assets.range_lease.renewed_at IS 'By the clock of the server, which all holders share';
COMMENT ON COLUMN sum_assets.range_lease.failure IS 'Why the last run of the range failed; it holds nothing any more';
