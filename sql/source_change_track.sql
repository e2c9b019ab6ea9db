-- Appends the IDs whose abstract a statement has added, edited or deleted. Other columns do not matter. Where a column
-- was renamed since, all may have changed: nothing here makes the statement fail.
CREATE OR REPLACE FUNCTION sum_assets.note_source_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $note$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO sum_assets.source_change SELECT ({key})::bigint FROM new_rows WHERE ({key}) IS NOT NULL;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO sum_assets.source_change SELECT ({key})::bigint FROM old_rows WHERE ({key}) IS NOT NULL;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO sum_assets.source_change
        SELECT DISTINCT id FROM (
            (SELECT ({key})::bigint AS id, {abstract} FROM new_rows EXCEPT ALL SELECT ({key})::bigint, {abstract} FROM old_rows)
            UNION ALL
            (SELECT ({key})::bigint, {abstract} FROM old_rows EXCEPT ALL SELECT ({key})::bigint, {abstract} FROM new_rows)
        ) AS changed
        WHERE id IS NOT NULL;
    ELSE
        INSERT INTO sum_assets.source_change VALUES (NULL);
    END IF;
    RETURN NULL;
EXCEPTION WHEN undefined_column OR datatype_mismatch OR cannot_coerce OR data_exception THEN
    INSERT INTO sum_assets.source_change VALUES (NULL);
    RETURN NULL;
END
$note$;
