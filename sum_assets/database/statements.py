"""Finds the statements in `sql/`."""

from functools import cache

from psycopg.sql import SQL

from sum_assets.paths import project_file

SQL_DIR = project_file("sql")


@cache
def statement(name: str) -> SQL:
    """Return the statement in `sql/NAME.sql`. It is our own text, hence as good as a literal."""
    return SQL((SQL_DIR / f"{name}.sql").read_text(encoding="utf-8"))
