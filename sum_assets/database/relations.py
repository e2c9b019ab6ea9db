"""Finds a table of the user's by the name that a person types."""

import difflib
import re
from dataclasses import dataclass

from psycopg import Connection, errors
from psycopg.rows import class_row
from psycopg.sql import Identifier

from sum_assets.database.statements import statement
from sum_assets.errors import UserError

_PART = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([^".]*[^".\s]))\s*(\.|$)')
#: What can be read like a table. The others are refused by these names.
READABLE = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table"}
_OTHER = {"i": "an index", "I": "an index", "S": "a sequence", "c": "a type", "t": "a table of PostgreSQL's own"}


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or the like."""

    oid: int
    schema: str
    name: str
    kind: str
    readable: bool

    @property
    def identifier(self) -> Identifier:
        """The name for a statement."""
        return Identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{_quoted(self.schema)}.{_quoted(self.name)}"


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's type, the type that its domain is made of, and the category of that: `S` is text."""

    name: str
    type: str
    base: str
    category: str


def find_relation(connection: Connection, name: str) -> Relation:
    """Return the relation that a name such as `public.article` means, as SQL reads it or as it is spelled.

    Raises UserError where there is none, two, one that cannot be read like a table, or one of another database.
    """
    parts = _parts(connection, name)
    spellings = {
        ".".join('"' + part.replace('"', '""') + '"' for part in spelled)
        for spelled in ([p for p, _ in parts], [p if is_quoted else p.lower() for p, is_quoted in parts])
    }
    try:
        with connection.cursor(row_factory=class_row(Relation)) as cursor:
            found = cursor.execute(statement("source_relation"), [sorted(spellings)]).fetchall()
    except errors.InsufficientPrivilege as error:
        raise UserError(f"This role may not look up {name}: {error.diag.message_primary}. Grant it USAGE.") from error
    if not found:
        known = [row[0] for row in connection.execute(statement("source_names"))]
        near = difflib.get_close_matches(".".join(p for p, _ in parts), known, n=3)
        near += [k for k in known if k.lower().replace('"', "").endswith("." + parts[-1][0].lower()) and k not in near]
        hint = f" Did you mean {' or '.join(near[:3])}?" if near else ""
        raise UserError(f"There is no table {name} here. Name it as schema.table.{hint}")
    if len(found) > 1:
        raise UserError(f"There are {' and '.join(map(str, found))}. Put quotes around the name, capitals and all.")
    (relation,) = found
    if relation.kind not in READABLE:
        raise UserError(f"{relation} is {_OTHER.get(relation.kind, 'something else')}, not a table or view.")
    if not relation.readable:
        role = connection.info.user
        raise UserError(f"This role may not read {relation}. As its owner: GRANT SELECT ON {relation} TO {role};")
    return relation


def _parts(connection: Connection, name: str) -> list[tuple[str, bool]]:
    """Split a name at its dots: each part, and whether it was quoted."""
    parts: list[tuple[str, bool]] = []
    at, separator = 0, "."
    while separator == ".":
        match = _PART.match(name, at)
        if match is None:
            raise UserError(f"{name!r} is not the name of a table. Name it as schema.table.")
        quoted, plain, separator = match.groups()
        parts.append((quoted.replace('""', '"') if quoted is not None else plain, quoted is not None))
        at = match.end()
    database = connection.info.dbname
    if len(parts) == 3 and database in (parts[0][0], parts[0][0].lower()):
        return parts[1:]
    if len(parts) == 3:
        raise UserError(
            f"{name} is in the database {parts[0][0]}, and this one is {database}. Import the table with postgres_fdw, "
            "or put sum_assets into that database."
        )
    if len(parts) > 3:
        raise UserError(f"The name {name} has {len(parts)} parts. Name the table as schema.table.")
    return parts


def _quoted(name: str) -> str:
    return name if re.fullmatch("[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


def columns_of(connection: Connection, relation: Relation) -> dict[str, ColumnType]:
    """Return the columns of a relation by name, in their order."""
    with connection.cursor(row_factory=class_row(ColumnType)) as cursor:
        return {column.name: column for column in cursor.execute(statement("source_columns"), [relation.oid])}


def pick_column(relation: Relation, columns: dict[str, ColumnType], name: str) -> ColumnType:
    """Return a column by its name as spelled, else as SQL reads it. Raises UserError where there is none."""
    for spelled in (name, name.removeprefix('"').removesuffix('"').replace('""', '"'), name.lower()):
        if spelled in columns:
            return columns[spelled]
    raise UserError(f"The table {relation} has no column {name}. It has: {', '.join(sorted(columns))}.")
