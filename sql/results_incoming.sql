CREATE TEMPORARY TABLE IF NOT EXISTS incoming_summary (
    abstract_id bigint,
    source_hash bytea,
    summary text,
    input_tokens integer,
    output_tokens integer,
    input_truncated boolean,
    finish_reason text
) ON COMMIT DELETE ROWS;

CREATE TEMPORARY TABLE IF NOT EXISTS incoming_rejection (
    abstract_id bigint,
    source_hash bytea,
    reason text,
    detail text
) ON COMMIT DELETE ROWS;
