"""Publishes a range or all of them, and empties what was published or generated."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from psycopg import Connection

from sum_assets.database.connection import transaction
from sum_assets.database.coverage import repeated_ids
from sum_assets.database.range_count import begin_count, count_range, record_count
from sum_assets.database.range_lease import Lease
from sum_assets.database.statements import statement
from sum_assets.database.verify import RangeState, stray, verify_range
from sum_assets.errors import RangeError, UserError
from sum_assets.id_range import IdRange
from sum_assets.units import counted

#: Yields ranges, and may show how far they are.
Progress = Callable[[Sequence[IdRange]], Iterable[IdRange]]


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
    return publish_all(connection, [id_range], fingerprint, lease)[id_range]


def publish_all(
    connection: Connection,
    ranges: Sequence[IdRange],
    fingerprint: str | None,
    lease: Lease | None = None,
    progress: Progress = iter,
) -> dict[IdRange, Publication]:
    """Publish ranges as `publish` does, all in one transaction: a reader sees all as before, or all as after.

    `lease` covers the ranges, and `progress` yields them one by one as they are worked on.
    """
    changes = {id_range: begin_count(connection, id_range) for id_range in ranges}
    publications = {}
    with transaction(connection, one_snapshot=True):
        if lease:
            lease.hold(connection)
        for id_range in progress(ranges):
            parameters = {"lo": id_range.lo, "hi": id_range.hi, "fingerprint": fingerprint}
            withdrawn = connection.execute(statement("publish_delete"), parameters).rowcount
            written = connection.execute(statement("publish_upsert"), parameters).rowcount
            state = verify_range(connection, id_range, fingerprint)
            _require_whole(connection, id_range, fingerprint, state)
            publications[id_range] = Publication(written, withdrawn, state)
    for id_range, publication in publications.items():
        if publication.state.published:
            record_count(connection, id_range, publication.state, changes[id_range])
        else:  # then another fingerprint may be the newest
            count_range(connection, id_range, lease.token if lease else "")
    return publications


def find_fingerprint(connection: Connection, beginning: str) -> str:
    """Return the one fingerprint that begins so. Raises UserError where there is none, or several."""
    known = sorted(str(row[0]) for row in connection.execute("SELECT fingerprint FROM sum_assets.summarizer_config"))
    found = [fingerprint for fingerprint in known if fingerprint.startswith(beginning)]
    if beginning in found:
        return beginning
    if len(found) == 1 and beginning:
        return found[0]
    many = "Several fingerprints begin with" if len(found) > 1 else "There is no fingerprint"
    raise UserError(f"{many} {beginning!r}. Known: {', '.join(known) or 'none'}.")


def require_all_whole(
    connection: Connection, ranges: Sequence[IdRange], fingerprint: str, progress: Progress = iter
) -> None:
    """Raise UserError unless all could be published under a fingerprint, and nothing is published elsewhere."""
    unfinished = []
    for id_range in progress(ranges):
        try:
            state = verify_range(connection, id_range, fingerprint)
            _require_whole(connection, id_range, fingerprint, state, published=False)
        except RangeError as error:
            unfinished.append(error)
    if unfinished:
        raise UserError(
            f"{counted(len(unfinished), 'ID range')} of {len(ranges)} cannot be published under {fingerprint}, so that "
            "nothing was. `sum-assets backfill --no-publish` with its configuration generates what is missing or "
            f"stale. The first: {unfinished[0]}"
        )
    if outside := sum(span.rows for span in stray(connection, ranges)):
        raise UserError(
            f"{counted(outside, 'published summary is', 'published summaries are')} in no ID range, and would stay as "
            "they are. Withdraw them first: `sum-assets unpublish --outside-ranges`."
        )


def _require_whole(
    connection: Connection, id_range: IdRange, fingerprint: str | None, state: RangeState, *, published: bool = True
) -> None:
    if not state.source:
        return  # its abstracts were deleted, and all that was published of them is withdrawn
    if fingerprint is None:
        raise RangeError(f"`summaries` of {id_range.key} was never materialized. Materialize it, then publish.")
    if state.duplicates:
        _, first = repeated_ids(connection, id_range)
        raise RangeError(
            f"{counted(state.duplicates, f'abstract of {id_range.key} is', f'abstracts of {id_range.key} are')} listed "
            f"twice by source_abstract, the first {first}. Remove its other rows from your table, or write a view that "
            "lists every ID once. Then run it again: no summary is made again for that."
        )
    if not state.complete:
        raise RangeError(
            f"The range {id_range.key} is not whole under fingerprint {fingerprint}: {state.pending} of "
            f"{state.source} abstracts have no current summary or rejection. "
            "Materialize `summaries` for it without a limit, then publish."
        )
    if published and not state.sound:
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
