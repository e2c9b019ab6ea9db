"""Makes the roles that share a database: one owns the tables, one runs, one reads."""

from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import Connection, errors
from psycopg.sql import SQL, Identifier, Literal

from sum_assets.database.connection import transaction
from sum_assets.database.statements import statement
from sum_assets.errors import UserError

_KINDS = ("owner", "writer", "reader")


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of the three roles."""

    owner: str
    writer: str
    reader: str

    @property
    def names(self) -> list[str]:
        """All three."""
        return [self.owner, self.writer, self.reader]


@dataclass(frozen=True, slots=True)
class RolesReport:
    """Which roles were made, and the former owners of the tables, whose rights ended: not the superusers of these."""

    made: list[str]
    former_owners: list[str]


def parse_roles(text: str) -> Roles:
    """Return the roles that a prefix names, `lab`, or three names, `lab_owner,lab_writer,lab_reader`.

    Raises UserError where these are not three names that PostgreSQL takes.
    """
    names = [name.strip() for name in text.split(",")]
    if len(names) == 1:
        names = [f"{names[0]}_{kind}" if names[0] else "" for kind in _KINDS]
    if len(set(names)) != len(_KINDS) or not all(map(_is_a_name, names)):
        raise UserError(
            f"{text!r} does not name three roles. Give a prefix, `--roles lab`, or three different names, "
            "`--roles lab_owner,lab_writer,lab_reader`."
        )
    return Roles(*names)


def _is_a_name(text: str) -> bool:
    return 0 < len(text.encode()) < 64 and not text.startswith("pg_") and text not in ("public", "none")


def make_roles(connection: Connection, roles: Roles) -> RolesReport:
    """Make the roles that are missing, without a password, give both schemas to the owner, and grant the rights.

    The rights of other roles stay. The same call again changes nothing. Raises UserError, having changed nothing, where
    a role is a superuser or has the rights of another, or where this role may not grant something.
    """
    names = {kind: Identifier(name) for kind, name in zip(_KINDS, roles.names, strict=True)}
    texts = {kind: Literal(name) for kind, name in zip(_KINDS, roles.names, strict=True)}
    with transaction(connection):
        made = _make(connection, roles)
        _become_member(connection, roles.owner)
        _execute(connection, (row[0] for row in connection.execute(statement("roles_database").format(**texts))))
        transfers = connection.execute(statement("roles_transfer").format(owner=texts["owner"])).fetchall()
        _execute(connection, (row[2] for row in transfers))
        let_owner_read(connection, None)
        try:
            connection.execute(SQL("SET LOCAL ROLE {owner}").format(**names))
            connection.execute(statement("roles_grant").format(**names))
            protect_view(connection)
        except errors.InsufficientPrivilege as error:
            raise _refused("", error) from error
    return RolesReport(made, sorted({row[0] for row in transfers if not row[1]} - {connection.info.user}))


def _make(connection: Connection, roles: Roles) -> list[str]:
    known = connection.execute(statement("roles_known"), {"names": roles.names}).fetchall()
    for name, is_superuser, others in known:
        if is_superuser:
            raise UserError(f"The role {name} is a superuser, whom nothing is refused. Name another role.")
        if others and name != roles.owner:
            raise UserError(
                f"The role {name} has the rights of {others[0]}. Take them away, REVOKE "
                f"{Identifier(others[0]).as_string()} FROM {Identifier(name).as_string()}; or name another role."
            )
    missing = [name for name in roles.names if name not in {row[0] for row in known}]
    try:
        for name in missing:
            connection.execute(SQL("CREATE ROLE {}").format(Identifier(name)))
    except errors.InsufficientPrivilege as error:
        listed = " ".join(f"CREATE ROLE {Identifier(name).as_string()};" for name in missing)
        raise UserError(
            f"This role may not create roles: {error.diag.message_primary}. Run this as a role with CREATEROLE, or "
            f"have these created, then run it again: {listed}"
        ) from error
    return missing


def _become_member(connection: Connection, owner: str) -> None:
    """Let this role act as the owner, so that it can give tables to it, and migrate them later."""
    row = connection.execute(statement("roles_may_act_as"), [owner]).fetchone()
    if row != (True,):
        _execute(connection, [SQL("GRANT {} TO CURRENT_USER").format(Identifier(owner)).as_string(connection)])


def _execute(connection: Connection, statements: Iterable[str]) -> None:
    for text in list(statements):
        try:
            connection.execute(text.encode())
        except errors.InsufficientPrivilege as error:
            raise _refused(text, error) from error


def _refused(text: str, error: errors.InsufficientPrivilege) -> UserError:
    what = f" `{text}`" if text else ""
    return UserError(
        f"This role may not grant what the roles need: {error.diag.message_primary}.{what} Run this as a superuser, or "
        "as the role that owns the schemas sum_assets and dagster."
    )


def let_owner_read(connection: Connection, relation: int | None) -> list[str]:
    """Grant the owner of the schema sum_assets what it lacks to read a relation, or what source_abstract reads.

    Returns the statements. Raises UserError where this role may not grant it.
    """
    query = statement("source_rights").format(relation=SQL("{}::oid").format(Literal(relation)))
    grants = [row[0] for row in connection.execute(query)]
    try:
        with connection.transaction():
            for grant in grants:
                connection.execute(grant.encode())
            lacking = [row[0] for row in connection.execute(query)]  # some refusals are only a warning
    except errors.InsufficientPrivilege:
        lacking = grants
    if lacking:
        raise UserError(
            "The owner of the schema sum_assets reads your table for all, and lacks the right. As the table's owner: "
            f"{'; '.join(lacking)};"
        )
    return grants


def protect_view(connection: Connection) -> None:
    """Take the rights to write through source_abstract from all but its owner."""
    _execute(connection, (row[0] for row in connection.execute(statement("source_view_protect"))))
