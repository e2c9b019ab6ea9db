"""The embedded server asks for no password: nobody else can reach its socket, wherever its data is."""

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from sum_assets.database import embedded


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sum_assets_") as path:
        yield Path(path)


@pytest.mark.parametrize("name", ["short", "with a space", "long" * 40])
def test_the_socket_is_in_a_folder_that_others_cannot_open(folder: Path, name: str) -> None:
    data = folder / name / "postgres"
    url = embedded.start(data)
    try:
        sockets = Path(str(conninfo.conninfo_to_dict(url)["host"]))
        found = sockets.lstat()
        assert stat.S_ISDIR(found.st_mode)
        assert found.st_mode & 0o077 == 0
        assert (sockets == data) == (name == "short")
        assert found.st_uid == data.stat().st_uid
        assert (sockets / ".s.PGSQL.5432").stat().st_mode & 0o077 == 0
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        if os.geteuid() == 0:
            assert subprocess.run([*AS_NOBODY, "ls", str(sockets)], capture_output=True).returncode != 0
        assert embedded.start(data) == url, "it runs already"
    finally:
        assert embedded.stop(data)
    assert sockets.exists() == (sockets == data)
    assert embedded.start(data), "again"
    embedded.stop(data)


AS_NOBODY = [shutil.which("setpriv") or "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
