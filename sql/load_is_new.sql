-- Whether the corpus has no abstract, and nothing withdrawn, with an ID in lo..hi.
SELECT NOT EXISTS (SELECT FROM sum_assets.corpus_abstract WHERE abstract_id BETWEEN %(lo)s AND %(hi)s)
   AND NOT EXISTS (SELECT FROM sum_assets.corpus_withdrawal WHERE abstract_id BETWEEN %(lo)s AND %(hi)s) AS is_new,
       pg_relation_size('pg_temp.load_record') / current_setting('block_size')::bigint AS pages;
