CREATE VIEW sum_assets.source_abstract AS
    SELECT {key} AS abstract_id, {abstract}::text AS abstract FROM {table}{where};
