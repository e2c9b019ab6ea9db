"""Tracks edits of the user's own table by triggers on it, so that only the ID ranges that they touch are counted anew.

Whoever looks takes the IDs that are committed by then. Those of a transaction that commits later are left for the next.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection, errors
from psycopg.sql import Identifier

from sum_assets.database.connection import transaction
from sum_assets.database.relations import columns_of, find_relation, pick_column
from sum_assets.database.schema import act_as, owner_to_act_as
from sum_assets.database.source_table import VIEW, recorded_source, source_key, source_moved
from sum_assets.database.statements import statement
from sum_assets.database.verify import RangeState
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange

_INSTEAD = "`sum-assets verify` finds edits without tracking, by reading everything"


@dataclass(frozen=True, slots=True)
class EditedRange:
    """A range of which somebody edited abstracts, and what was counted since; None where it was not."""

    edited_at: datetime
    state: RangeState | None

    @property
    def to_do(self) -> bool:
        """Whether a run has to put right what is published, as far as that is known."""
        return self.state is not None and self.state.published > 0 and not self.state.sound


def track_changes(connection: Connection) -> str:
    """Put triggers on the table that `source_abstract` reads, and return its name.

    What was counted before holds no longer. Raises UserError where the table has writes that no trigger sees, or
    belongs to others.
    """
    if moved := source_moved(connection):
        raise UserError(moved)
    record = recorded_source(connection)
    if record is None or record.id_column is None or record.abstract_column is None:
        raise UserError(
            f"Changes cannot be tracked through {VIEW}, which is not recorded as the view of one table. Name that: "
            f"`sum-assets init --source SCHEMA.TABLE --track-changes`. {_INSTEAD}."
        )
    relation = find_relation(connection, record.source)
    row = connection.execute(statement("source_change_trackable"), [relation.oid]).fetchone()
    sees_all, is_owner, owner = row or (False, False, "")
    if relation.kind != "r" or not sees_all:
        raise UserError(
            f"Changes of {relation} cannot be tracked: it is not a plain table, or has partitions, or is filled by "
            f"replication. {_INSTEAD}."
        )
    if not is_owner:
        raise UserError(
            f"This role may not put triggers on {relation}. Run this as a member of its owner, {owner}. {_INSTEAD}."
        )
    columns = columns_of(connection, relation)
    abstract = pick_column(relation, columns, record.abstract_column)
    key = source_key(pick_column(relation, columns, record.id_column))
    with _changing_triggers(connection):
        _drop_function(connection)
        act_as(connection, owner_to_act_as(connection))
        connection.execute(statement("source_change_track").format(key=key, abstract=Identifier(abstract.name)))
        connection.execute("RESET ROLE")
        connection.execute(statement("source_change_triggers").format(table=relation.identifier))
        connection.execute("INSERT INTO sum_assets.source_change VALUES (NULL)")  # what was edited until now
    return str(relation)


def stop_tracking(connection: Connection) -> None:
    """Take the triggers off, whichever table has them."""
    with _changing_triggers(connection):
        _drop_function(connection)


def _drop_function(connection: Connection) -> None:
    # Its triggers go with it, also those on a table of which this role is not the owner.
    connection.execute("DROP FUNCTION IF EXISTS sum_assets.note_source_change() CASCADE")


@contextmanager
def _changing_triggers(connection: Connection) -> Iterator[None]:
    try:
        with transaction(connection):
            yield
    except errors.InsufficientPrivilege as error:
        raise UserError(
            f"This role may not track changes: {error.diag.message_primary}. Run `sum-assets init` as the role that "
            "owns the schema sum_assets, or as a member of it."
        ) from error


def is_tracking(connection: Connection) -> tuple[bool, bool]:
    """Return whether changes are to be tracked, and whether the triggers for it are where they belong."""
    wanted, works = connection.execute(statement("source_change_tracked")).fetchone() or (False, False)
    return wanted, works


def take_changes(connection: Connection, ranges: Sequence[IdRange]) -> None:
    """Drop the counts of the ranges whose abstracts were edited since the last time: one look where none was."""
    if connection.execute("SELECT FROM sum_assets.source_change LIMIT 1").fetchone() is None:
        return
    with transaction(connection):
        # New ranges that are being counted wait, or are there to be dropped.
        connection.execute("LOCK TABLE sum_assets.range_count IN SHARE ROW EXCLUSIVE MODE")
        connection.execute(
            "INSERT INTO sum_assets.range_count (lo, hi) SELECT * FROM unnest(%s::bigint[], %s::bigint[]) "
            "ON CONFLICT DO NOTHING",
            [[r.lo for r in ranges], [r.hi for r in ranges]],
        )
        connection.execute(statement("source_change_take"))


def edited_ranges(connection: Connection) -> dict[IdRange, EditedRange]:
    """Return the ranges whose abstracts were ever found edited, in order."""
    query = (
        "SELECT lo, hi, edited_at, CASE WHEN counted_at IS NOT NULL THEN state END FROM sum_assets.range_count "
        "WHERE edited_at IS NOT NULL ORDER BY lo"
    )
    return {
        IdRange(lo, hi): EditedRange(at, RangeState(**state) if state else None)
        for lo, hi, at, state in connection.execute(query)
    }
