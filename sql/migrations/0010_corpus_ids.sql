-- Which numbering the IDs of the corpus belong to, which versions compare, and what was withdrawn.
CREATE TABLE sum_assets.corpus_id_space (
    id_space text PRIMARY KEY CHECK (id_space IN ('pmid', 'pmc', 'own'))
);

COMMENT ON TABLE sum_assets.corpus_id_space IS
    'One row: whether IDs in corpus_abstract are PMIDs, PMC IDs or numbers of the user''s own';

ALTER TABLE sum_assets.corpus_abstract
    ADD COLUMN version_scheme text NOT NULL DEFAULT 'none' CHECK (version_scheme IN ('pubmed', 'column', 'none'));

COMMENT ON COLUMN sum_assets.corpus_abstract.version_scheme IS
    'Versions compare within a scheme: of PubMed, of a version column, or none';

CREATE TABLE sum_assets.corpus_withdrawal (
    abstract_id bigint PRIMARY KEY,
    version bigint NOT NULL,
    version_scheme text NOT NULL,
    withdrawn_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE sum_assets.corpus_withdrawal IS 'Deletions and abstracts that a newer version lacks: older ones stay away';

-- What is there was loaded before schemes were recorded. PubMed's versions are a number and a day, as nyyyymmdd.
UPDATE sum_assets.corpus_abstract
   SET version_scheme = CASE
           WHEN version BETWEEN 100000000 AND 9999999999
                AND (version % 100000000 = 0 OR version % 100000000 BETWEEN 18000101 AND 21001231) THEN 'pubmed'
           ELSE 'column'
       END
 WHERE version <> 0;

INSERT INTO sum_assets.corpus_id_space (id_space)
SELECT CASE WHEN bool_and(version_scheme = 'pubmed') THEN 'pmid' ELSE 'own' END
  FROM sum_assets.corpus_abstract
HAVING count(*) > 0;
