-- Which tables source_abstract reads, by the names they had: a table that was swapped by renaming is noticed.
CREATE TABLE sum_assets.source_record (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    source text NOT NULL,
    id_column text,
    abstract_column text,
    skip_bad_ids boolean NOT NULL DEFAULT false,
    reads text[] NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE sum_assets.source_record IS 'What `init --source` or the first `ranges --rows` found behind source_abstract';
COMMENT ON COLUMN sum_assets.source_record.source IS
    'The table as `init --source` takes it; the view itself where it was written by hand, and then without columns';
COMMENT ON COLUMN sum_assets.source_record.reads IS 'All tables and views that the view reads, also through other views';
