-- Of two files that are loaded at once, the second sees which IDs the first has.
LOCK TABLE sum_assets.corpus_id_space IN SHARE ROW EXCLUSIVE MODE;
