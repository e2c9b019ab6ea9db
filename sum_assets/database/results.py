"""Lists the abstracts that have no current result, and commits results batch by batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from sum_assets.abstract import Rejection, Summary
from sum_assets.database.characters import storable, unstorable
from sum_assets.database.connection import transaction
from sum_assets.database.range_lease import Lease
from sum_assets.database.source import naming_rows
from sum_assets.database.statements import statement
from sum_assets.id_range import IdRange


@dataclass(frozen=True, slots=True)
class ResultStore:
    """The results of one fingerprint, as one run reads and writes them."""

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
        """Return the IDs that have no current result, in order; all of them when overwriting.

        `limit` restricts it to the range's pilot: its first abstracts by a hash of the ID. Raises UserError where a row
        of the source cannot be read.
        """
        parameters = {
            "lo": id_range.lo,
            "hi": id_range.hi,
            "limit": limit,
            "overwrite": self.overwrite,
            "fingerprint": self.fingerprint,
        }
        with naming_rows(connection, id_range):
            return [row[0] for row in connection.execute(statement("results_pending"), parameters)]

    def write(
        self,
        connection: Connection,
        results: Sequence[Summary | Rejection],
        source_hashes: Mapping[int, bytes],
        lease: Lease | None = None,
    ) -> None:
        """Commit results in one transaction: COPY, then insert what is new and replace what is stale.

        `source_hashes` holds, by ID, the hash of the text that each result was made of. The transaction holds the
        lease: a run that has lost its range commits nothing more. The database can hold the results: see
        `storable_results`.
        """
        summaries = [r for r in results if isinstance(r, Summary)]
        rejections = [r for r in results if isinstance(r, Rejection)]
        parameters = {"fingerprint": self.fingerprint, "run_id": self.run_id, "overwrite": self.overwrite}
        with transaction(connection), connection.cursor() as cursor:
            if lease:
                lease.hold(connection)
            cursor.execute(statement("results_incoming"))
            if summaries:
                with cursor.copy("COPY pg_temp.incoming_summary FROM STDIN") as copy:
                    for s in summaries:
                        copy.write_row(
                            (s.abstract_id, source_hashes[s.abstract_id], s.text, s.input_tokens, s.output_tokens,
                             s.input_truncated, s.finish_reason)
                        )  # fmt: skip
                cursor.execute(statement("results_upsert_summaries"), parameters)
            if rejections:
                with cursor.copy("COPY pg_temp.incoming_rejection FROM STDIN") as copy:
                    for r in rejections:
                        copy.write_row((r.abstract_id, source_hashes[r.abstract_id], r.reason, r.detail))
                cursor.execute(statement("results_upsert_rejections"), parameters)


def storable_results(connection: Connection, results: Sequence[Summary | Rejection]) -> list[Summary | Rejection]:
    """Return results with a rejection for each summary that the database cannot hold."""
    return [_storable(connection, result) for result in results]


def _storable(connection: Connection, result: Summary | Rejection) -> Summary | Rejection:
    if isinstance(result, Rejection):
        return replace(result, detail=storable(connection, result.detail))
    if missing := unstorable(connection, result.text):
        detail = f"the summary has a character that the database cannot hold: {missing}"
        return Rejection(result.abstract_id, "unstorable_character", detail)
    return result
