"""Creates the tables in `sql/migrations`, and migrates them forward."""

from psycopg import Connection, errors
from psycopg.sql import SQL, Identifier

from sum_assets.database.server_errors import ALLOW_WRITING
from sum_assets.database.statements import SQL_DIR, statement
from sum_assets.errors import UserError

_LOCK = 7_365_109  # any constant: two `init` at once queue on it

MIGRATIONS = sorted((SQL_DIR / "migrations").glob("*.sql"))
NEWEST = int(MIGRATIONS[-1].stem[:4])


def migrate(connection: Connection) -> list[str]:
    """Apply what is not applied yet, all or nothing, and return the names of the applied migrations.

    Raises UserError where the schema is newer than this code or the role may not create it.
    """
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            if schema_version(connection) is None:
                _bootstrap(connection)
            act_as(connection, owner_to_act_as(connection))
            at = _not_newer(schema_version(connection) or 0)
            pending = [path for path in MIGRATIONS if int(path.stem[:4]) > at]
            for path in pending:
                connection.execute(statement(f"migrations/{path.stem}"))
                connection.execute(
                    "INSERT INTO sum_assets.schema_migration (version, name) VALUES (%s, %s)",
                    [int(path.stem[:4]), path.stem],
                )
    except errors.InsufficientPrivilege as error:
        raise UserError(
            f"This role may not make or migrate the schema sum_assets: {error.diag.message_primary}. Run "
            "`sum-assets init` as the role that owns it, or for the first time as a role with CREATE on the database."
        ) from error
    except errors.ReadOnlySqlTransaction as error:
        raise UserError(f"This database is read-only. {ALLOW_WRITING}.") from error
    return [path.stem for path in pending]


def _bootstrap(connection: Connection) -> None:
    # IF NOT EXISTS would ask for CREATE on the database also where somebody made the schema for this role.
    if connection.execute("SELECT to_regnamespace('sum_assets')").fetchone() == (None,):
        connection.execute("CREATE SCHEMA sum_assets")
    connection.execute(statement("schema_bootstrap"))


def owner_to_act_as(connection: Connection) -> str | None:
    """Return the owner of the schema, where what this role makes there is to belong to it; None for its own."""
    row = connection.execute(statement("schema_owner")).fetchone()
    return str(row[0]) if row else None


def act_as(connection: Connection, owner: str | None) -> None:
    """Take the owner's role until the end of the transaction: others have default rights on what that makes."""
    if owner:
        connection.execute(SQL("SET LOCAL ROLE {}").format(Identifier(owner)))


def schema_version(connection: Connection) -> int | None:
    """Return the number of the newest migration applied, 0 before the first, None without a schema."""
    row = connection.execute("SELECT to_regclass('sum_assets.schema_migration') IS NOT NULL").fetchone()
    if not row or not row[0]:
        return None
    row = connection.execute("SELECT coalesce(max(version), 0) FROM sum_assets.schema_migration").fetchone()
    return int(row[0]) if row else 0


def _not_newer(version: int) -> int:
    if version > NEWEST:
        raise UserError(
            f"The schema sum_assets is at version {version}, newer than this code ({NEWEST}). Update sum_assets."
        )
    return version


def require_schema(connection: Connection) -> None:
    """Raise UserError where the schema is missing, older or newer than this code."""
    version = schema_version(connection)
    if version is None or _not_newer(version) < NEWEST:
        state = "has no schema sum_assets" if version is None else f"is at version {version} of {NEWEST}"
        raise UserError(f"The database {connection.info.dbname} {state}. Run `sum-assets init`.")
