"""The corpus that `make corpus` builds: as many abstracts as asked for, all different, as long as the real ones."""

from itertools import islice
from pathlib import Path

import pytest
from psycopg import Connection

from sum_assets.errors import UserError
from sum_assets.ingest.readers import read_records
from sum_assets.ingest.records import ReaderOptions
from sum_assets_tests.evidence.corpus import Half, copy_rows, fill_corpus, real_halves

ROWS = 5_000


@pytest.fixture(scope="module")
def halves(pubmed_file: Path) -> list[Half]:
    """Those of the first abstracts: all take a quarter of a minute."""
    with pubmed_file.open("rb") as stream:
        return real_halves(islice(read_records(stream, pubmed_file, ReaderOptions()), 1000))


def test_a_corpus_is_of_different_abstracts_as_long_as_the_real_ones(database: Connection, halves: list[Half]) -> None:
    advances: list[int] = []
    fill_corpus(database, halves, ROWS, advances.append)
    assert sum(advances) == ROWS
    row = database.execute(
        "SELECT count(*), count(DISTINCT abstract), max(abstract_id) > 3 * count(*), "
        "abs(corr(length(abstract), abstract_id)) < 0.1, bool_and(abstract ~ '^[^ ].*[^ ] [^ ]') "
        "FROM sum_assets.corpus_abstract WHERE title > ''"
    ).fetchone()
    assert row == (ROWS, ROWS, True, True, True)
    lengths = database.execute(
        "SELECT percentile_disc('{0.05,0.5,0.95}'::float[]) WITHIN GROUP (ORDER BY octet_length(abstract)) "
        "FROM sum_assets.corpus_abstract"
    ).fetchone()
    real = [len(half.head) + len(half.tail) for half in halves]
    assert lengths == ([pytest.approx(real[round(len(real) * at)], rel=0.1, abs=60) for at in (0.05, 0.5, 0.95)],)


def test_the_same_number_of_rows_is_the_same_corpus(halves: list[Half]) -> None:
    some = halves[:10]
    rows = list(copy_rows(some, 25))
    assert rows == list(copy_rows(some, 25))
    assert rows[:17] == list(copy_rows(some, 17)), "a larger one begins like a smaller one"


def test_a_corpus_that_is_there_is_left_alone(database: Connection, halves: list[Half]) -> None:
    database.execute("INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (7, 'mine')")
    with pytest.raises(UserError, match="has abstracts already: nothing was changed"):
        fill_corpus(database, halves, 10, print)
    assert database.execute("SELECT abstract FROM sum_assets.corpus_abstract").fetchall() == [("mine",)]
