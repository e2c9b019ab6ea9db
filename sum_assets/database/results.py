"""Reads the abstracts that have no current result, and commits results batch by batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from sum_assets.database.connection import transaction
from sum_assets.database.range_lease import Lease
from sum_assets.database.statements import statement
from sum_assets.id_range import IdRange


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row of the source as it was read, with the hash that its result is stored under."""

    abstract_id: int
    abstract: str | None
    source_hash: bytes


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One row for `generated_summary`."""

    abstract_id: int
    source_hash: bytes
    summary: str
    input_tokens: int
    output_tokens: int
    input_truncated: bool
    finish_reason: str


@dataclass(frozen=True, slots=True)
class RejectionRow:
    """One row for `rejected_abstract`."""

    abstract_id: int
    source_hash: bytes
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Writer:
    """What the rows of one run have in common."""

    fingerprint: str
    run_id: str
    overwrite: bool = False

    def register(self, connection: Connection, settings: Mapping[str, Any]) -> None:
        """Record the settings behind the fingerprint, once."""
        connection.execute(
            "INSERT INTO sum_assets.summarizer_config (fingerprint, settings) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            [self.fingerprint, Jsonb(settings)],
        )

    def pending(self, connection: Connection, id_range: IdRange, limit: int | None) -> list[int]:
        """Return the IDs that have no current result, in order; all of them when overwriting."""
        parameters = {
            "lo": id_range.lo,
            "hi": id_range.hi,
            "limit": limit,
            "overwrite": self.overwrite,
            "fingerprint": self.fingerprint,
        }
        return [row[0] for row in connection.execute(statement("pending"), parameters)]

    def write(
        self,
        connection: Connection,
        summaries: Sequence[SummaryRow],
        rejections: Sequence[RejectionRow] = (),
        lease: Lease | None = None,
    ) -> None:
        """Commit results in one transaction: COPY, then insert what is new and replace what is stale.

        It holds the lease: a run that has lost its range commits nothing more.
        """
        with transaction(connection), connection.cursor() as cursor:
            if lease:
                lease.hold(connection)
            cursor.execute(statement("incoming"))
            parameters = {"fingerprint": self.fingerprint, "run_id": self.run_id, "overwrite": self.overwrite}
            if summaries:
                with cursor.copy("COPY incoming_summary FROM STDIN") as copy:
                    for s in summaries:
                        copy.write_row(
                            (s.abstract_id, s.source_hash, s.summary, s.input_tokens, s.output_tokens,
                             s.input_truncated, s.finish_reason)
                        )  # fmt: skip
                cursor.execute(statement("upsert_summaries"), parameters)
            if rejections:
                with cursor.copy("COPY incoming_rejection FROM STDIN") as copy:
                    for r in rejections:
                        copy.write_row((r.abstract_id, r.source_hash, r.reason, r.detail))
                cursor.execute(statement("upsert_rejections"), parameters)


def read_abstracts(connection: Connection, ids: Sequence[int]) -> list[SourceRow]:
    """Read abstracts by ID, as they are now; an ID deleted since is left out."""
    with connection.cursor(row_factory=class_row(SourceRow)) as cursor:
        return cursor.execute(statement("read_abstracts"), {"ids": list(ids)}).fetchall()


def count_source(connection: Connection, id_range: IdRange | None = None) -> int:
    """Count the rows of the source, or of one range of it."""
    query = "SELECT count(*) FROM sum_assets.source_abstract"
    if id_range is None:
        row = connection.execute(query).fetchone()
    else:
        row = connection.execute(query + " WHERE abstract_id BETWEEN %s AND %s", [id_range.lo, id_range.hi]).fetchone()
    return int(row[0]) if row else 0
