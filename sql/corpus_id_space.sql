-- The ID space of the corpus; no row where the corpus is empty.
SELECT coalesce((SELECT id_space FROM sum_assets.corpus_id_space), 'own')
WHERE EXISTS (SELECT FROM sum_assets.corpus_abstract);
