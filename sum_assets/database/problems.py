"""Finds what no run will put right by itself, and says which command does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg import Connection

from sum_assets.database.coverage import SOURCE, rows_in, unusable_ids
from sum_assets.database.range_count import Recount
from sum_assets.database.range_registry import gaps, overlaps, parse_keys
from sum_assets.database.source_change import is_tracking
from sum_assets.database.source_table import VIEW, SourceRecord, recorded_source, source_moved
from sum_assets.database.verify import RangeState, stray
from sum_assets.id_range import LARGEST_ID, WIDTH, IdRange
from sum_assets.units import counted

#: How many abstracts a new range gets where there is none to go by.
DEFAULT_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong: how many ranges, keys or rows it concerns, and a sentence that ends with what fixes it."""

    kind: str
    count: int
    message: str


def registry_problems(connection: Connection, keys: Sequence[str]) -> list[Problem]:
    """Compare the registered partition keys with the source and with what is published.

    Raises UserError where the source cannot be read.
    """
    ranges, invalid = parse_keys(keys)
    moved = source_moved(connection)
    missing = rows_in(connection, SOURCE, gaps(ranges))
    unusable = unusable_ids(connection)
    outside = stray(connection, ranges)
    problems = [Problem("source_moved", 1, moved)] if moved else []
    wanted, works = is_tracking(connection)
    if wanted and not works:
        says = "Changes of the source are to be tracked, but the triggers for that are gone or disabled"
        fix = "Make them again, `sum-assets init --track-changes`; or track none: `sum-assets init --no-track-changes`."
        problems.append(Problem("not_tracked", 1, f"{says}. {fix}"))
    problems += key_problems(ranges, invalid)
    if missing:
        rows = sum(span.rows for span in missing)
        problems.append(
            Problem(
                "uncovered",
                rows,
                f"{counted(rows, 'row of the source is', 'rows of the source are')}"
                f" in no ID range, the first has ID {missing[0].first}. Add ranges for "
                f"them: `sum-assets ranges --rows {usual_rows(connection)}`.",
            )
        )
    if unusable:
        problems.append(unusable_problem(unusable, recorded_source(connection)))
    if outside:
        rows = sum(span.rows for span in outside)
        number = counted(rows, "published summary is", "published summaries are")
        first = f"{number} in no ID range, the first has ID {outside[0].first}."
        problems.append(
            Problem(
                "stray",
                rows,
                f"{first} They are of abstracts outside the ranges, or of another source. Withdraw them: "
                "`sum-assets unpublish --outside-ranges`.",
            )
        )
    return problems


def unusable_problem(rows: int, record: SourceRecord | None) -> Problem:
    """Return what to do about rows whose ID no ID range can hold."""
    if record is None or record.source == VIEW:
        leave_out = f"leave these rows out of the view: WHERE abstract_id BETWEEN 0 AND {LARGEST_ID}"
    else:
        leave_out = f"leave these rows out: {replace(record, skip_bad_ids=True).command}"
    return Problem(
        "unusable_ids",
        rows,
        f"{counted(rows, 'row of the source has', 'rows of the source have')}"
        " an ID that no ID range can hold: NULL, not a number, negative, or of more "
        f"than {WIDTH} digits. Correct the IDs, or {leave_out}.",
    )


def key_problems(ranges: Sequence[IdRange], invalid: Sequence[str]) -> list[Problem]:
    """Return what is wrong with the partition keys alone."""
    problems = []
    overlapping = overlaps(ranges)
    if invalid:
        problems.append(
            Problem(
                "invalid_keys",
                len(invalid),
                f"{counted(len(invalid), 'partition key is not an ID range', 'partition keys are not ID ranges')}"
                f", the first {invalid[0]!r}. Forget them: "
                "`sum-assets ranges --repair`.",
            )
        )
    if overlapping:
        lower, upper = overlapping[0]
        problems.append(
            Problem(
                "overlaps",
                len(overlapping),
                f"{counted(len(overlapping), 'ID range overlaps another', 'ID ranges overlap others')}"
                f", the first {upper.key} and {lower.key}. Forget what is "
                "too much: `sum-assets ranges --repair`. Results stay.",
            )
        )
    return problems


def usual_rows(connection: Connection) -> int:
    """Return how many abstracts a range has on average, of those that were profiled."""
    query = "SELECT round(avg(rows)) FROM sum_assets.range_profile WHERE rows > 0"
    row = connection.execute(query).fetchone()
    return int(row[0]) if row and row[0] else DEFAULT_ROWS


def range_problems(states: Sequence[tuple[IdRange, RangeState | None]]) -> list[Problem]:
    """Return what is wrong with published ranges: those whose rows all vanished, and others that are not whole.

    `states` holds all ranges in order; nothing is said of those whose state is None.
    """
    unsound = [(r, state) for r, state in states if state and not state.sound]
    vanished = [r for r, state in unsound if not state.source]
    not_whole = [r for r, state in unsound if state.source]
    complete = [r for r, state in unsound if state.source and state.complete]
    pending = [r for r, state in unsound if state.source and not state.complete]
    known = [r for r, _ in states]
    problems = []
    if vanished:
        problems.append(
            Problem(
                "vanished",
                len(vanished),
                f"{counted(len(vanished), 'published range has', 'published ranges have')}"
                " no abstracts in the source any more, the first "
                f"{vanished[0].key}. If the source is right, withdraw them by publishing: "
                f"{_materialize(vanished, known, '--select summary_table')}.",
            )
        )
    if not_whole:
        fixes = []
        if complete:
            fixes.append(f"Publish again: {_materialize(complete, known, '--select summary_table')}.")
        if pending:
            command = _materialize(pending, known, "-c run.yaml")
            fixes.append(f"Summarize and publish again, with the run configuration that you use: {command}.")
        problems.append(
            Problem(
                "not_whole",
                len(not_whole),
                f"{counted(len(not_whole), 'published range is', 'published ranges are')}"
                f" not whole, the first {not_whole[0].key}. {' '.join(fixes)}",
            )
        )
    return problems


def count_problems(recounts: Sequence[tuple[IdRange, Recount]], *, recorded: bool) -> list[Problem]:
    """Return what is wrong with recorded counts; `recorded` says that the right ones were recorded now."""
    wrong = [r for r, recount in recounts if recount.wrong_before]
    if not wrong:
        return []
    fix = "They are recorded anew. Look again" if recorded else "Record them anew, as a role that may write"
    return [
        Problem(
            "miscounted",
            len(wrong),
            f"The recorded counts of {counted(len(wrong), 'range')} were wrong, the first {wrong[0].key}: something "
            f"other than sum_assets has changed its results. {fix}: `sum-assets verify`.",
        )
    ]


def _materialize(ranges: Sequence[IdRange], known: Sequence[IdRange], options: str) -> str:
    """Return the command for the first ranges that follow upon each other, and say how many are left."""
    start = known.index(ranges[0])
    count = 1
    while count < len(ranges) and ranges[count] == known[start + count]:
        count += 1
    keys = ranges[0].key if count == 1 else f"{ranges[0].key} {ranges[count - 1].key}"
    rest = len(ranges) - count
    return f"`sum-assets materialize {keys} {options}`" + (f", and likewise {rest:,} more" if rest else "")
