"""Points the view `source_abstract` at a table of the user's, and notices when it reads another one."""

import shlex
from dataclasses import dataclass
from typing import NoReturn

from psycopg import Connection, errors
from psycopg.rows import class_row
from psycopg.sql import SQL, Composable, Identifier

from sum_assets.database.relations import (
    READABLE,
    ColumnType,
    Relation,
    columns_of,
    find_relation,
    pick_column,
)
from sum_assets.database.roles import let_owner_read, protect_view
from sum_assets.database.schema import act_as, owner_to_act_as
from sum_assets.database.statements import statement
from sum_assets.errors import UserError
from sum_assets.id_range import LARGEST_ID

#: The source that `init --source` takes for a view written by hand: it is recorded as it is.
VIEW = "sum_assets.source_abstract"
CORPUS = "sum_assets.corpus_abstract"
KEEP = f"`sum-assets init --source {VIEW}`"
_INTEGERS = ("smallint", "integer", "bigint")
#: How to make text of other types.
_DECODED = {
    "bytea": "convert_from({}, 'UTF8')",
    "json": "{} #>> '{{}}'",
    "jsonb": "{} #>> '{{}}'",
    "xml": "array_to_string(xpath('//text()', {}), ' ')",
}


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """Which table the view was pointed at, and the names of all that it read then."""

    source: str
    id_column: str | None
    abstract_column: str | None
    skip_bad_ids: bool
    reads: list[str]

    @property
    def command(self) -> str:
        """The command that points the view at that table again."""
        words = ["sum-assets", "init", "--source", self.source]
        if self.id_column and self.abstract_column:
            words += ["--id-column", self.id_column, "--abstract-column", self.abstract_column]
        return f"`{shlex.join([*words, *(['--skip-bad-ids'] if self.skip_bad_ids else [])])}`"


def point_source(
    connection: Connection, table: str, id_column: str, abstract_column: str, *, skip_bad_ids: bool = False
) -> Relation:
    """Point the view `source_abstract` at a table of the user's, copying nothing, and record which it is.

    An ID column of text holds digits, alone or behind `PMC`; any other text becomes NULL, which `verify` counts, or
    is left out with `skip_bad_ids`. The rights that others have on the view stay. It belongs to the owner of the
    schema, who is granted SELECT on the table if need be. Raises UserError where the table or a column is missing or of
    another type.
    """
    relation = find_relation(connection, table)
    if str(relation) == VIEW:
        _require_columns(read_state(connection)[0])
        record_source(connection, VIEW)
        return relation
    columns = columns_of(connection, relation)
    id_type, text_type = pick_column(relation, columns, id_column), pick_column(relation, columns, abstract_column)
    if id_type.base not in _INTEGERS and id_type.category != "S":
        raise UserError(
            f"The column {id_type.name} is {id_type.type}; an ID is an integer or text such as PMC123. Name another "
            "column, or write the view yourself: docs/how-to/your-own-table.md."
        )
    if text_type.category != "S":
        _explain_type(relation, id_type, text_type)
    key = source_key(id_type)
    where = SQL(" WHERE {} BETWEEN 0 AND {}").format(key, LARGEST_ID) if skip_bad_ids else SQL("")
    view = statement("source_view_create").format(
        key=key, abstract=Identifier(text_type.name), table=relation.identifier, where=where
    )
    try:
        with connection.transaction():
            grants = [row[0] for row in connection.execute(statement("source_grants"))]
            if owner := owner_to_act_as(connection):
                let_owner_read(connection, relation.oid)
                act_as(connection, owner)
            connection.execute("DROP VIEW IF EXISTS sum_assets.source_abstract")
            connection.execute(view)
            protect_view(connection)
            for grant in grants:
                connection.execute(grant.encode())
            record_source(connection, str(relation), id_type.name, text_type.name, skip_bad_ids)
    except errors.DependentObjectsStillExist as error:
        raise UserError(f"Other views stand on sum_assets.source_abstract: {error.diag.message_detail}") from error
    except errors.InsufficientPrivilege as error:
        raise UserError(
            f"This role may not replace {VIEW}: {error.diag.message_primary}. Run `sum-assets init` as the role that "
            "owns the schema sum_assets."
        ) from error
    return relation


def source_key(column: ColumnType) -> Composable:
    """Return the expression that makes an ID of a column."""
    if column.base in _INTEGERS:
        return Identifier(column.name)
    return SQL("(substring({} from '^(?:PMC)?([0-9]{{1,18}})$'))::bigint").format(Identifier(column.name))


def _explain_type(relation: Relation, id_type: ColumnType, text_type: ColumnType) -> NoReturn:
    says = f"The column {text_type.name} is {text_type.type}, and an abstract is text."
    array = "array_to_string({}, ' ')" if text_type.category == "A" else None
    decoded = array or _DECODED.get(text_type.base)
    if decoded is None:
        raise UserError(f"{says} Name another column: --abstract-column.")
    identifier = Identifier(text_type.name).as_string()
    raise UserError(
        f"{says} If it is to be decoded, write the view yourself:\n"
        f"DROP VIEW IF EXISTS {VIEW};\nCREATE VIEW {VIEW} AS SELECT {source_key(id_type).as_string()} AS abstract_id, "
        f"{decoded.format(identifier)} AS abstract FROM {relation};\nThen record it: {KEEP}."
    )


def record_source(
    connection: Connection,
    source: str,
    id_column: str | None = None,
    abstract_column: str | None = None,
    skip_bad_ids: bool = False,
) -> None:
    """Record the source, and what the view reads now as what it is to read."""
    reads = read_state(connection)[1]
    with connection.transaction():
        connection.execute("DELETE FROM sum_assets.source_record")
        connection.execute("UPDATE sum_assets.range_count SET changes = changes + 1, counted_at = NULL")
        connection.execute(
            "INSERT INTO sum_assets.source_record (source, id_column, abstract_column, skip_bad_ids, reads) "
            "VALUES (%s, %s, %s, %s, %s)",
            [source, id_column, abstract_column, skip_bad_ids, reads],
        )


def record_unless_recorded(connection: Connection) -> None:
    """Record what the view reads, where nothing is recorded yet: a view by hand, or that of `load`."""
    if recorded_source(connection) is None:
        is_corpus = read_state(connection)[1] == [CORPUS]
        record_source(connection, *((CORPUS, "abstract_id", "abstract") if is_corpus else (VIEW,)))


def recorded_source(connection: Connection) -> SourceRecord | None:
    """Return what was recorded last."""
    query = "SELECT source, id_column, abstract_column, skip_bad_ids, reads FROM sum_assets.source_record"
    with connection.cursor(row_factory=class_row(SourceRecord)) as cursor:
        return cursor.execute(query).fetchone()


def read_state(connection: Connection) -> tuple[dict[str, str] | None, list[str]]:
    """Return the types of the view's columns, None without the view, and the names of all that it reads."""
    row = connection.execute(statement("source_state")).fetchone()
    assert row is not None
    return row[0], row[1]


def require_source(connection: Connection) -> None:
    """Raise UserError where the view is gone or cannot be read, or reads another table than recorded."""
    if moved := source_moved(connection):
        raise UserError(moved)


def source_moved(connection: Connection) -> str | None:
    """Return what to do where the view reads another table than was recorded, None where it does not.

    Raises UserError where the view is gone or cannot be read.
    """
    record = recorded_source(connection)
    columns, reads = read_state(connection)
    if columns is None:
        was = f" with a table that it read ({', '.join(record.reads)})" if record else ""
        again = record.command if record and record.source != VIEW else "`sum-assets init --source schema.table`"
        raise UserError(f"The view {VIEW} is gone: it was dropped{was}. Point it at a table again: {again}.")
    _require_columns(columns)
    if record is None or reads == record.reads:
        return None
    says = (
        f"{VIEW} reads {', '.join(reads) or 'no table'}, but {', '.join(record.reads) or 'no table'} when it was "
        "recorded: a table was renamed, or the view was changed."
    )
    keep = f"If what it reads is right, record it: {KEEP}."
    if record.source == VIEW:
        return f"{says} {keep}"
    try:
        relation = find_relation(connection, record.source)
    except UserError:
        return f"{says} {keep}"
    if READABLE[relation.kind].endswith("view") and str(relation) in reads:
        # A view follows a table that is renamed: pointing at the view again would change nothing.
        return (
            f"{says} {relation} is a {READABLE[relation.kind]}, which still reads the renamed table. To read another, "
            f"create it again over that, then record it: {record.command}. {keep}"
        )
    return f"{says} To read {relation}, as it is now: {record.command}. {keep}"


def _require_columns(columns: dict[str, str] | None) -> None:
    columns = columns or {}
    if columns.get("abstract_id") not in _INTEGERS or columns.get("abstract") != "text":
        listed = ", ".join(f"{name} {kind}" for name, kind in columns.items()) or "none"
        raise UserError(
            f"The view {VIEW} needs the columns abstract_id, an integer, and abstract, text. It has: {listed}. "
            "Write it again, or point it at a table: `sum-assets init --source schema.table`."
        )


def index_advice(connection: Connection) -> str:
    """Return what makes reading a range quick, where it has no index on the ID."""
    record = recorded_source(connection)
    anyhow = "Create an index on what source_abstract uses as ID, in the table that it reads."
    if record is None or record.id_column is None:
        return anyhow
    try:
        relation = find_relation(connection, record.source)
    except UserError:  # the view may read it, this role may not
        return anyhow
    if relation.kind == "v":
        return (
            f"{relation} is a view, which has no index. Point --source at the table that it reads, or index there what "
            "the view computes as ID."
        )
    if relation.kind == "f":
        return (
            f"{relation} is a foreign table: the index belongs on its server. If that does not help, copy it into a "
            f"{READABLE['m']}, and point --source at that."
        )
    key = source_key(pick_column(relation, columns_of(connection, relation), record.id_column))
    return SQL("CREATE INDEX ON {} (({}));").format(relation.identifier, key).as_string(connection)
