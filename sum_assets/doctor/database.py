"""Looks at the database: whether it answers, its settings, the rights of the role, the tables, and the source."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from psycopg import Connection
from psycopg.rows import class_row

from sum_assets.database.connection import connect, database_url
from sum_assets.database.device_losses import require_not_quarantined
from sum_assets.database.problems import DEFAULT_ROWS
from sum_assets.database.range_registry import stored_keys
from sum_assets.database.ranges import scans_sequentially
from sum_assets.database.schema import NEWEST, require_schema, schema_version
from sum_assets.database.server_errors import ALLOW_WRITING
from sum_assets.database.source_table import VIEW, index_advice, read_state, require_source
from sum_assets.database.statements import statement
from sum_assets.database.url import address, read_url
from sum_assets.doctor.finding import Finding, Level, findings_of
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange
from sum_assets.units import counted, size

#: What the UI, its daemon and a few runs use at a time.
_CONNECTIONS = 20
_NAMED = 3


@dataclass(frozen=True, slots=True)
class _Server:
    version: str
    role: str
    is_standby: bool
    is_read_only: bool
    encoding: str
    fsync: bool
    statement_timeout_ms: int
    free_connections: int
    connection_limit: int


def look_at_database(devices: Sequence[str] = ()) -> list[Finding]:
    """Return findings on the database that is configured, and on what it says of devices, by torch's names."""

    def look() -> Iterator[Finding]:
        with connect() as connection:
            for subject, part in (
                ("server", _server),
                ("rights", _rights),
                ("tables", _tables),
                ("source", _source),
                ("ID ranges", _ranges),
                ("devices", partial(_quarantined, devices)),
            ):
                found = findings_of("database", subject, partial(part, connection))
                yield from found
                if subject == "tables" and found[-1].level != "ok":
                    return  # the others look into them

    return findings_of("database", "server", look)


def _finding(level: Level, subject: str, message: str) -> Finding:
    return Finding("database", level, subject, message)


def _server(connection: Connection) -> Iterator[Finding]:
    with connection.cursor(row_factory=class_row(_Server)) as cursor:
        server = cursor.execute(statement("doctor_server")).fetchone()
    assert server is not None
    where = address(read_url(database_url()))
    yield _finding("ok", "server", f"PostgreSQL {server.version} at {where}, as the role {server.role}")
    if server.is_standby or server.is_read_only:
        what = "a standby" if server.is_standby else "read-only for this role"
        yield _finding("failure", "server", f"It is {what}: commands that read work, runs do not. {ALLOW_WRITING}.")
    if server.encoding != "UTF8":
        yield _finding(
            "warning",
            "encoding",
            f"It is {server.encoding}, in which summaries with other characters are rejected. Use a database with "
            "the encoding UTF8.",
        )
    if server.statement_timeout_ms:
        yield _finding(
            "warning",
            "timeout",
            f"statement_timeout is {server.statement_timeout_ms / 1000:g} s, and counting or publishing a range may "
            f"take longer. Raise it: ALTER ROLE {server.role} SET statement_timeout = 0;",
        )
    if not server.fsync:
        yield _finding(
            "warning", "fsync", "It is off: a crash of the server's machine loses what was committed. Set fsync = on."
        )
    limits = [server.free_connections, *([server.connection_limit] if server.connection_limit >= 0 else [])]
    if min(limits) < _CONNECTIONS:
        yield _finding(
            "warning",
            "connections",
            f"{counted(max(min(limits), 0), 'connection is', 'connections are')} free for this role, and the UI with "
            f"some runs takes about {_CONNECTIONS}. Raise max_connections or the role's limit, or end idle sessions.",
        )


def _tables(connection: Connection) -> Iterator[Finding]:
    if _is_new(connection):
        yield _finding("warning", "tables", "Not set up yet. Make them: `sum-assets init`.")
        return
    require_schema(connection)
    yield _finding("ok", "tables", f"the schema sum_assets is at version {schema_version(connection)} of {NEWEST}")


def _is_new(connection: Connection) -> bool:
    """Return whether neither we nor Dagster have made anything here: schemas may have been made for us."""
    query = (
        "SELECT FROM pg_class WHERE relnamespace IN (to_regnamespace('sum_assets'), to_regnamespace('dagster')) LIMIT 1"
    )
    return connection.execute(query).fetchone() is None


def _rights(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(
        "SELECT to_regnamespace('sum_assets') IS NOT NULL, has_database_privilege(current_database(), 'CREATE')"
    ).fetchone()
    has_schema, may_create = row or (False, False)
    if not has_schema and may_create:
        yield _finding("ok", "rights", "this role may make the schemas sum_assets and dagster")
        return
    if not has_schema:
        yield _finding(
            "failure",
            "rights",
            "There is no schema sum_assets, and this role may not make one. Run `sum-assets init` as a role with "
            "CREATE on the database.",
        )
        return
    lacking = [f"{privilege} on {name}" for privilege, name in connection.execute(statement("doctor_rights"))]
    if not lacking:
        yield _finding("ok", "rights", "this role may do all that runs do")
        return
    more = f" and {len(lacking) - _NAMED} more rights" if len(lacking) > _NAMED else ""
    yield _finding(
        "failure",
        "rights",
        f"This role cannot run the pipeline. It lacks {', '.join(lacking[:_NAMED])}{more}. Make it a member of the "
        "writer that `sum-assets init --roles` makes.",
    )


def _source(connection: Connection) -> Iterator[Finding]:
    require_source(connection)
    reads = read_state(connection)[1]
    row = connection.execute(statement("source_size"), [reads]).fetchone()
    assert row is not None
    named = ", ".join(reads) or "no table"
    if connection.execute("SELECT FROM sum_assets.source_abstract LIMIT 1").fetchone() is None:
        yield _finding(
            "warning",
            "source",
            f"{VIEW} reads {named}, which is empty. Load abstracts, `sum-assets load FILE`, or point it at your own "
            "table: `sum-assets init --source SCHEMA.TABLE`.",
        )
        return
    yield _finding("ok", "source", f"{VIEW} reads {named}: {_size(*row)}")
    if scans_sequentially(connection, IdRange(0, 0)):
        yield _finding(
            "warning",
            "index",
            f"Reading a range scans the whole table, for want of an index on the ID: {index_advice(connection)}",
        )
    else:
        yield _finding("ok", "index", "an ID range is read by an index")


def _size(rows: int | None, rows_ranges: int, ranges: int, estimated: int | None, stored_bytes: int | None) -> str:
    stored = f", {size(stored_bytes)} with its indexes" if stored_bytes else ""
    if rows and rows_ranges >= ranges:
        return f"{rows:,} rows, as last counted{stored}"
    if estimated:
        return f"about {estimated:,} rows, as the planner estimates{stored}"
    return f"rows unknown until ANALYZE or `sum-assets verify`{stored}"


def _ranges(connection: Connection) -> Iterator[Finding]:
    keys = stored_keys(connection)
    if keys is None:  # Dagster's storage is another, or has no tables yet
        return
    if keys:
        yield _finding("ok", "ID ranges", f"{len(keys):,} registered")
    else:
        fix = f"Cut them: `sum-assets ranges --rows {DEFAULT_ROWS}`."
        yield _finding("warning", "ID ranges", f"None is registered, and runs go by ID ranges. {fix}")


def _quarantined(devices: Sequence[str], connection: Connection) -> Iterator[Finding]:
    for device in devices:
        try:
            require_not_quarantined(connection, device)
        except UserError as error:
            yield _finding("failure", device, str(error))
