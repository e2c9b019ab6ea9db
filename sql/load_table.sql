-- What COPY fills: the records of one file, numbered in the order they were read.
CREATE TEMPORARY TABLE load_record (
    position bigint GENERATED ALWAYS AS IDENTITY,
    abstract_id bigint NOT NULL,
    title text,
    abstract text NOT NULL,
    version bigint NOT NULL
) ON COMMIT DROP;
