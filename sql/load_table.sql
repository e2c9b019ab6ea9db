-- No lock that somebody keeps makes the load wait for ever.
SET LOCAL lock_timeout = {timeout};

-- What COPY fills: the records of one file, numbered in the order they were read. Without an abstract, it withdraws.
CREATE TEMPORARY TABLE load_record (
    position bigint GENERATED ALWAYS AS IDENTITY,
    abstract_id bigint NOT NULL,
    title text,
    abstract text,
    version bigint NOT NULL,
    version_scheme text NOT NULL,
    is_deletion boolean NOT NULL
) ON COMMIT DROP;

-- The IDs whose stored abstract the load has changed.
CREATE TEMPORARY TABLE load_changed (abstract_id bigint NOT NULL) ON COMMIT DROP;
