"""Cases of disks that are full: small volumes in memory where mounting is allowed, else what a trigger says."""

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sum_assets.paths import dagster_dir, project_file
from sum_assets_tests.faults.arena import BATCH, Arena, Tally
from sum_assets_tests.faults.cases import PAUSE, case, check, clear_failure

#: Mounts, waits for a word or for the end of who asked, and unmounts, whatever became of them.
_GUARD = 'mount -t tmpfs -o size=1m,mode=700,uid="$2" tmpfs "$1" && echo mounted && read word; umount -l "$1"'


@contextmanager
def volume(folder: Path, owner: int) -> Iterator[bool]:
    """Mount 1 MiB on a new folder; give whether that was allowed."""
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


def full_disk(arena: Arena, seed: int) -> Tally:
    """The table lies on a volume with room for some pages of four rows each."""
    disk, table, space = arena.folder / "disk", "sum_assets.generated_summary", f"space_{arena.name}"
    with volume(disk, arena.server.data.stat().st_uid):
        arena.sql(f"CREATE TABLESPACE {space} LOCATION '{disk}'")
        try:
            arena.sql(f"ALTER TABLE {table} SET (fillfactor = 10)")
            arena.sql(f"ALTER TABLE {table} SET TABLESPACE {space}")
            filler = fill(disk, 8192 * random.Random(seed).randint(1, 16))
            clear_failure(arena.start(), "The disk of the database is full: could not extend file")
            assert arena.rows() < 96
            filler.unlink()
            arena.finish()
            return check(arena.tally(), BATCH)
        finally:
            arena.sql(f"ALTER TABLE {table} SET TABLESPACE pg_default")
            arena.sql(f"DROP TABLESPACE {space}")


def full_log_volume(arena: Arena, seed: int) -> Tally:
    """What the run prints, and the folder in which Dagster keeps what its steps print, have no room left."""
    logs = dagster_dir(arena.folder)
    with volume(logs, os.getuid()):
        shutil.copy(project_file("dagster.yaml"), logs)
        filler = fill(logs, 4096 * (seed % 4))
        run = arena.start(pause=PAUSE, log=logs / "run.log")
        assert run.wait() in (0, 1)
        state = os.statvfs(logs)
        assert state.f_bavail == 0, "it did not fill the volume"
        filler.unlink()
        arena.finish()
        return check(arena.tally(), BATCH)


def disk_full(arena: Arena, seed: int) -> Tally:
    after = random.Random(seed).randint(1, 60)
    arena.sql(
        f"""CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT count(*) FROM sum_assets.generated_summary) > {after} THEN
            RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
        END IF; RETURN NULL; END $$;
        CREATE TRIGGER full_disk AFTER INSERT ON sum_assets.generated_summary EXECUTE FUNCTION full_disk()"""
    )
    clear_failure(arena.start(), "The disk of the database is full: could not extend file")
    arena.sql("DROP TRIGGER full_disk ON sum_assets.generated_summary")
    arena.finish()
    return check(arena.tally(), BATCH)


with tempfile.TemporaryDirectory() as _folder, volume(Path(_folder) / "probe", os.getuid()) as _mounted:
    pass
if _mounted:
    case("full disk")(full_disk)
    case("full log volume")(full_log_volume)
else:
    case("full disk, said by a trigger")(disk_full)
