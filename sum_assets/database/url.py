"""Reads the URL of the database, once for all who connect: psycopg, and the driver of Dagster's storage."""

import psycopg
from psycopg import conninfo

from sum_assets.errors import UserError
from sum_assets.paths import URL_VARIABLE

#: What holds where the URL says nothing. Whoever connects notices within a minute or two that the server's machine is
#: gone; libpq keeps these to itself, so that no pooler can refuse them.
_DEFAULTS = {
    "connect_timeout": "10",
    "application_name": "sum_assets",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
_INVALID = (
    f"{URL_VARIABLE} is not a valid PostgreSQL URL. Expected postgresql://user:password@host:5432/name. In user and "
    "password, write @ as %40, / as %2F, : as %3A and % as %25."
)


def read_url(url: str) -> dict[str, str]:
    """Return libpq's parameters of a URL or of `key=value` pairs, with our defaults.

    Raises UserError, which repeats nothing of it, where it is not valid: it may hold a password in any place.
    """
    parameters = _parsed(url)
    if parameters is None or _strays(url) or not _are_numbers(parameters.get("port", "")):
        raise UserError(_INVALID)
    # Else the server's, the user's or the environment's encoding may not hold what we read and write.
    return _DEFAULTS | parameters | {"client_encoding": "UTF8"}


def _parsed(url: str) -> dict[str, str] | None:
    try:
        return {name: str(value) for name, value in conninfo.conninfo_to_dict(url).items() if value is not None}
    except psycopg.Error:  # names what it cannot read, so it is no cause of any other error
        return None


def _strays(url: str) -> bool:
    """Return whether an @ that is not escaped makes libpq take a piece of the password for the host or the name."""
    scheme, separator, rest = url.partition("://")
    if not separator or "=" in scheme:
        return False
    user, _, after = rest.partition("@")
    return "@" in (rest if "/" in user else after).partition("?")[0]


def _are_numbers(ports: str) -> bool:
    return all(port.strip() == "" or port.strip().isdecimal() for port in ports.split(","))


def address(parameters: dict[str, str]) -> str:
    """Return the servers and the database that parameters name, for a message: nothing secret."""
    if service := parameters.get("service"):
        return f"service {service}"
    hosts = (parameters.get("host") or parameters.get("hostaddr") or "").split(",")
    ports = parameters.get("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    servers = ",".join(f"{h or 'localhost'}:{p or 5432}" for h, p in zip(hosts, ports, strict=False))
    return f"{servers}/{parameters.get('dbname', '')}"
