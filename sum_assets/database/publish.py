"""Publishes a range, and empties what was published or generated."""

from dataclasses import dataclass

from psycopg import Connection

from sum_assets.database.connection import transaction
from sum_assets.database.range_count import begin_count, count_range, record_count
from sum_assets.database.range_lease import Lease
from sum_assets.database.statements import statement
from sum_assets.database.verify import RangeState, verify_range
from sum_assets.errors import RangeError, UserError
from sum_assets.id_range import IdRange
from sum_assets.units import counted


@dataclass(frozen=True, slots=True)
class Publication:
    """What one publication changed, and the state of the range after it."""

    written: int
    withdrawn: int
    state: RangeState


def publish(
    connection: Connection, id_range: IdRange, fingerprint: str | None, lease: Lease | None = None
) -> Publication:
    """Make the published rows of a range those of one fingerprint, in one transaction, which holds the lease.

    A range without abstracts needs no fingerprint: all its rows are withdrawn. The transaction writes first, then
    verifies what it would commit. Raises RangeError, with nothing changed, where the range is not whole under that
    fingerprint.
    """
    parameters = {"lo": id_range.lo, "hi": id_range.hi, "fingerprint": fingerprint}
    changes = begin_count(connection, id_range)
    with transaction(connection, one_snapshot=True):
        if lease:
            lease.hold(connection)
        withdrawn = connection.execute(statement("publish_delete"), parameters).rowcount
        written = connection.execute(statement("publish_upsert"), parameters).rowcount
        state = verify_range(connection, id_range, fingerprint)
        _require_whole(id_range, fingerprint, state)
    if state.published:
        record_count(connection, id_range, state, changes)
    else:  # then another fingerprint may be the newest
        count_range(connection, id_range, lease.token if lease else "")
    return Publication(written, withdrawn, state)


def _require_whole(id_range: IdRange, fingerprint: str | None, state: RangeState) -> None:
    if not state.source:
        return  # its abstracts were deleted, and all that was published of them is withdrawn
    if fingerprint is None:
        raise RangeError(f"`summaries` of {id_range.key} was never materialized. Materialize it, then publish.")
    if state.duplicates:
        raise RangeError(
            f"{counted(state.duplicates, f'abstract of {id_range.key} is', f'abstracts of {id_range.key} are')} listed "
            "twice by source_abstract. "
            "Make the view list every ID once."
        )
    if not state.complete:
        raise RangeError(
            f"The range {id_range.key} is not whole under fingerprint {fingerprint}: {state.pending} of "
            f"{state.source} abstracts have no current summary or rejection. "
            "Materialize `summaries` for it without a limit, then publish."
        )
    if not state.sound:
        raise RangeError(f"The range {id_range.key} would not be whole when published: {state}. Nothing changed.")


def unpublish(connection: Connection, id_range: IdRange | None, lease: Lease | None = None) -> int:
    """Empty the published table, or one range of it. Returns the number of rows withdrawn."""
    with transaction(connection):
        if lease:
            lease.hold(connection)
        if id_range is None:
            return connection.execute("DELETE FROM sum_assets.abstract_summary").rowcount
        return connection.execute(
            "DELETE FROM sum_assets.abstract_summary WHERE abstract_id BETWEEN %s AND %s", [id_range.lo, id_range.hi]
        ).rowcount


def discard(connection: Connection, fingerprint: str, lease: Lease | None = None) -> tuple[int, int]:
    """Delete what was generated and rejected under a fingerprint, and its settings.

    Returns the numbers of summaries and rejections deleted. Raises UserError, with nothing changed, where
    the fingerprint is unknown or some of it is published.
    """
    with transaction(connection):
        if lease:
            lease.hold(connection)
        known = [row[0] for row in connection.execute("SELECT fingerprint FROM sum_assets.summarizer_config")]
        if fingerprint not in known:
            listing = ", ".join(sorted(known)) or "none"
            raise UserError(f"There is no fingerprint {fingerprint!r}. Known: {listing}.")
        row = connection.execute(
            "SELECT count(*) FROM sum_assets.abstract_summary WHERE fingerprint = %s", [fingerprint]
        ).fetchone()
        if row and row[0]:
            raise UserError(
                f"{row[0]} summaries of fingerprint {fingerprint} are published. Withdraw them first: "
                "`sum-assets unpublish`."
            )
        deleted = [
            connection.execute("DELETE FROM sum_assets.generated_summary WHERE fingerprint = %s", [fingerprint]),
            connection.execute("DELETE FROM sum_assets.rejected_abstract WHERE fingerprint = %s", [fingerprint]),
        ]
        counts = deleted[0].rowcount, deleted[1].rowcount
        connection.execute("DELETE FROM sum_assets.summarizer_config WHERE fingerprint = %s", [fingerprint])
    return counts


def result_counts(connection: Connection) -> dict[str, int]:
    """Count the rows of all results, by table."""
    row = connection.execute(statement("results_count")).fetchone()
    assert row is not None
    return dict(zip(("generated", "rejected", "published"), row, strict=True))
