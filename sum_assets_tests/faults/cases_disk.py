"""Cases of full disks: small volumes in memory if mounting is allowed, else a trigger that raises the error."""

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sum_assets.paths import dagster_dir, project_file
from sum_assets_tests.faults.cases import PAUSE, UNCOMMITTED, case, check, clear_failure
from sum_assets_tests.faults.sandbox import Sandbox, Tally

#: Mounts a volume, waits for a line of input or for its end, and unmounts the volume.
_GUARD = 'mount -t tmpfs -o size=1m,mode=700,uid="$2" tmpfs "$1" && echo mounted && read word; umount -l "$1"'


@contextmanager
def volume(folder: Path, owner: int) -> Iterator[bool]:
    """Mount 1 MiB on a new folder, and yield whether that was allowed."""
    folder.mkdir()
    guard = subprocess.Popen(
        ["sh", "-c", _GUARD, "sh", folder, str(owner)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    assert guard.stdout
    try:
        yield guard.stdout.readline() == b"mounted\n"
    finally:
        guard.communicate(b"\n")


def fill(folder: Path, left: int) -> Path:
    """Fill a volume up to so many bytes, and return the file to delete."""
    filler = folder / "filler"
    state = os.statvfs(folder)
    filler.write_bytes(bytes(state.f_bavail * state.f_frsize - left))
    return filler


def full_disk(sandbox: Sandbox, seed: int) -> Tally:
    """The table is on a volume that holds only a few pages of four rows each."""
    disk, table, space = sandbox.folder / "disk", "sum_assets.generated_summary", f"space_{sandbox.name}"
    with volume(disk, sandbox.server.data.stat().st_uid):
        sandbox.sql(f"CREATE TABLESPACE {space} LOCATION '{disk}'")
        try:
            sandbox.sql(f"ALTER TABLE {table} SET (fillfactor = 10)")
            sandbox.sql(f"ALTER TABLE {table} SET TABLESPACE {space}")
            filler = fill(disk, 8192 * random.Random(seed).randint(1, 16))
            clear_failure(sandbox.start(), "The disk of the database is full: could not extend file")
            assert sandbox.rows() < 96
            filler.unlink()
            sandbox.finish()
            return check(sandbox.tally(), UNCOMMITTED)
        finally:
            sandbox.sql(f"ALTER TABLE {table} SET TABLESPACE pg_default")
            sandbox.sql(f"DROP TABLESPACE {space}")


def full_log_volume(sandbox: Sandbox, seed: int) -> Tally:
    """The volume of the run's output, and of the output that Dagster keeps of its steps, is full."""
    logs = dagster_dir(sandbox.folder)
    with volume(logs, os.getuid()):
        shutil.copy(project_file("dagster.yaml"), logs)
        filler = fill(logs, 4096 * (seed % 4))
        run = sandbox.start(pause=PAUSE, log=logs / "run.log")
        assert run.wait() in (0, 1)
        state = os.statvfs(logs)
        assert state.f_bavail == 0, "it did not fill the volume"
        filler.unlink()
        sandbox.finish()
        return check(sandbox.tally(), UNCOMMITTED)


def disk_full(sandbox: Sandbox, seed: int) -> Tally:
    """A trigger raises PostgreSQL's error of a full disk."""
    after = random.Random(seed).randint(1, 60)
    sandbox.sql(
        f"""CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT count(*) FROM sum_assets.generated_summary) > {after} THEN
            RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
        END IF; RETURN NULL; END $$;
        CREATE TRIGGER full_disk AFTER INSERT ON sum_assets.generated_summary EXECUTE FUNCTION full_disk()"""
    )
    clear_failure(sandbox.start(), "The disk of the database is full: could not extend file")
    sandbox.sql("DROP TRIGGER full_disk ON sum_assets.generated_summary")
    sandbox.finish()
    return check(sandbox.tally(), UNCOMMITTED)


with tempfile.TemporaryDirectory() as _folder, volume(Path(_folder) / "probe", os.getuid()) as _mounted:
    pass
if _mounted:
    case("full disk")(full_disk)
    case("full log volume")(full_log_volume)
else:
    case("full disk, said by a trigger")(disk_full)
