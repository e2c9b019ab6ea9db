"""Which characters a database holds: all of Unicode but NUL, unless its encoding is an older one."""

import codecs
import unicodedata

from psycopg import Connection


def unstorable(connection: Connection, text: str) -> str | None:
    """Return what of a text the database cannot hold, by code and name, in ASCII; None if it holds it all."""
    if "\x00" in text:
        return "U+0000 (NULL)"
    encoding = connection.info.parameter_status("server_encoding") or "UTF8"
    try:
        text.encode(_codec(encoding))
    except UnicodeEncodeError as error:
        character = text[error.start]
        return f"U+{ord(character):04X} ({unicodedata.name(character, 'no name')}) in the encoding {encoding}"
    return None


def storable(connection: Connection, text: str) -> str:
    """Return a message with escapes for what the database cannot hold."""
    if unstorable(connection, text) is None:
        return text
    return text.replace("\x00", "").encode("ascii", "backslashreplace").decode()


def _codec(encoding: str) -> str:
    """Return Python's name of an encoding of the server; UTF-8 where it checks nothing, or Python has none."""
    try:
        return codecs.lookup(encoding.replace("WIN", "cp").replace("KOI8", "koi8_")).name
    except LookupError:
        return "utf-8"
