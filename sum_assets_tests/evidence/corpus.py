"""Fills the corpus table with as many abstracts as asked for: `make corpus ROWS=3680000`.

Each is the first half of one real abstract of PubMed and the second half of another of about the same length, so
lengths and words are those of the real ones. It ends with a number of its own: no two are the same. IDs have gaps. The
same number of rows is the same corpus every time.
"""

import random
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Annotated

import numpy as np
import typer
from psycopg import Connection

from sum_assets.cli.console import err, out, progress_bar
from sum_assets.cli.demo import pubmed_file
from sum_assets.database.connection import connect, database_url
from sum_assets.database.schema import migrate
from sum_assets.errors import UserError
from sum_assets.ingest.readers import read_records
from sum_assets.ingest.records import Item, ReaderOptions, Record

SEED = 1
#: IDs per abstract: some ranges of IDs are dense and others sparse, as where journals were indexed at different times.
MEAN_GAP = 10
_PIECE = 1000  # rows
_SENTENCE = re.compile(r"(?<=[.!?]) (?=[A-Z])")
# The rows are visible and frozen as they are written, as those of a corpus that was loaded some time ago. The server
# reads text half as fast as binary.
_COPY = "COPY sum_assets.corpus_abstract (abstract_id, title, abstract) FROM STDIN (FORMAT binary, FREEZE)"
_HEADER, _TRAILER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0), struct.pack("!h", -1)
_ROW = struct.Struct("!hiqi")  # number of columns, size and value of the ID, size of the title
_SIZE = struct.Struct("!i")


@dataclass(frozen=True, slots=True)
class Half:
    """A real abstract in UTF-8: its title and its two halves, cut between sentences."""

    title: bytes
    head: bytes
    tail: bytes


def real_halves(records: Iterable[Item]) -> list[Half]:
    """Return the abstracts among records that have two sentences or more, the shortest first."""
    by_id = {r.abstract_id: r for r in records if isinstance(r, Record)}
    halves = []
    for record in sorted(by_id.values(), key=lambda r: (len(r.abstract), r.abstract_id)):
        sentences = _SENTENCE.split(record.abstract)
        middle = len(sentences) // 2
        if middle:
            texts = (record.title or "", " ".join(sentences[:middle]) + " ", " ".join(sentences[middle:]))
            halves.append(Half(*(text.encode() for text in texts)))
    return halves


def copy_rows(halves: Sequence[Half], rows: int) -> Iterator[bytes]:
    """Yield the rows of a corpus as COPY reads them in binary, in the order of their IDs."""
    gaps = np.random.default_rng(SEED)
    order = list(range(len(halves)))
    random.Random(SEED).shuffle(order)  # else the lengths would grow with the IDs
    abstract_id = done = step = 0
    while done < rows:
        count = min(len(order), rows - done)
        mean = int(gaps.integers(1, 2 * MEAN_GAP))
        for at, gap in zip(order[:count], gaps.geometric(1 / mean, len(order)).tolist(), strict=False):
            abstract_id += gap
            first, second = halves[at], halves[(at + step) % len(halves)]
            end = b" This study is registered as number %d." % abstract_id
            size = len(first.head) + len(second.tail) + len(end)
            row = _ROW.pack(3, 8, abstract_id, len(first.title))
            yield b"".join((row, first.title, _SIZE.pack(size), first.head, second.tail, end))
        done += count
        step += 1


def require_empty(connection: Connection) -> None:
    """Raise UserError where there is a corpus already."""
    if connection.execute("SELECT FROM sum_assets.corpus_abstract LIMIT 1").fetchone() is not None:
        raise UserError(
            f"The corpus of the database {connection.info.dbname} has abstracts already: nothing was changed. Name an "
            "empty database: --database postgresql://..."
        )


def fill_corpus(
    connection: Connection, halves: Sequence[Half], rows: int, on_progress: Callable[[int], object]
) -> None:
    """Write a corpus in one transaction. `on_progress` gets numbers of new rows.

    Raises UserError, with nothing changed, where there is one already.
    """
    written = copy_rows(halves, rows)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE sum_assets.corpus_abstract IN ACCESS EXCLUSIVE MODE")
        require_empty(connection)
        cursor.execute("TRUNCATE sum_assets.corpus_abstract")  # FREEZE needs a table that this transaction has emptied
        with cursor.copy(_COPY) as copy:
            copy.write(_HEADER)
            while piece := list(islice(written, _PIECE)):
                copy.write(b"".join(piece))
                on_progress(len(piece))
            copy.write(_TRAILER)
    connection.execute("ANALYZE sum_assets.corpus_abstract")


def main(
    rows: Annotated[int, typer.Argument(help="How many abstracts.", min=1)],
    database: Annotated[str | None, typer.Option(help="URL. Default: the database that sum-assets uses.")] = None,
) -> None:
    """Fill an empty corpus table with abstracts made of real ones, all different."""
    path = pubmed_file()
    with connect(database or database_url()) as connection:
        migrate(connection)
        require_empty(connection)
        with err.status("reading real abstracts"), path.open("rb") as stream:
            halves = real_halves(read_records(stream, path, ReaderOptions()))
        started = time.perf_counter()
        with progress_bar() as progress:
            task = progress.add_task(f"{rows:,} abstracts", total=rows)
            fill_corpus(connection, halves, rows, partial(progress.advance, task))
        seconds = time.perf_counter() - started
    out.print(f"{rows:,} abstracts in {seconds:.1f} s: {rows / seconds:,.0f} rows/s")


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        err.print(str(error), markup=False)
        raise SystemExit(1) from None
