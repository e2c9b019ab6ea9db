"""Whose IDs a file and the corpus have: PMC5 and PMID 5 are two articles."""

from pathlib import Path

from psycopg import Connection

from sum_assets.database.statements import statement
from sum_assets.errors import UserError
from sum_assets.ingest.records import IdSpace

_NAMES = {"pmid": "PMIDs", "pmc": "PMC IDs", "own": "numbers of your own"}


def corpus_id_space(connection: Connection) -> IdSpace | None:
    """Return the ID space of the corpus, None while it is empty."""
    row = connection.execute(statement("corpus_id_space")).fetchone()
    return row[0] if row else None


def agreed_id_space(path: Path, file: IdSpace | None, said: IdSpace | None, corpus: IdSpace | None) -> IdSpace:
    """Return the ID space of the corpus once a file is loaded.

    `file` is what the file's format or its IDs tell, None for bare numbers; `said` is what the user says. Bare
    numbers may be PMIDs. Raises UserError where the file's IDs are not those of the corpus.
    """
    if file and said and file != said:
        raise UserError(f"{path} has {_NAMES[file]}, not {_NAMES[said]}. Leave out --id-space.")
    space = file or said or ("pmid" if corpus == "pmid" else "own")
    if corpus in (None, space) or (corpus == "own" and said == space):
        return space
    fix = "Load it into a database of its own."
    if corpus == "own":
        fix += f" If those are {_NAMES[space]} too, add --id-space {space}."
    elif not file and not said:
        fix += f" If these are {_NAMES[corpus]} too, add --id-space {corpus}."
    raise UserError(
        f"{path} has {_NAMES[space]}, and the corpus has {_NAMES[corpus]}: one ID would mean two articles. {fix}"
    )


def lock_id_space(connection: Connection) -> None:
    """Let no other file change the ID space until the end of the transaction."""
    connection.execute(statement("corpus_id_space_lock"))


def set_id_space(connection: Connection, space: IdSpace) -> None:
    """Record the ID space of the corpus, in the transaction that loads it."""
    connection.execute(statement("corpus_id_space_set"), {"space": space})
