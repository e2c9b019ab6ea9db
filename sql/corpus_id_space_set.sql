-- Record the ID space of the corpus in place of another.
WITH other AS (
    DELETE FROM sum_assets.corpus_id_space WHERE id_space <> %(space)s
)
INSERT INTO sum_assets.corpus_id_space (id_space) VALUES (%(space)s) ON CONFLICT DO NOTHING;
