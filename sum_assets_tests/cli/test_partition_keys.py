"""Where `status` and `verify` find the ID ranges: in the database, or in the storage of a user's `DAGSTER_HOME`."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from psycopg import Connection

from sum_assets.cli.partition_keys import partition_keys
from sum_assets.defs.instance import open_instance, register_ranges
from sum_assets.id_range import IdRange

STATUS = """
import sys
from sum_assets.cli.main import main
sys.argv = ["sum-assets", "status"]
try:
    main()
finally:
    print({"dagster", "numpy", "pyarrow", "torch"} & set(sys.modules))
"""


def test_status_loads_nothing_that_takes_long(database: Connection, instance: dg.DagsterInstance) -> None:
    register_ranges(instance, [IdRange(10, 19), IdRange(1, 9)])
    answer = subprocess.run([sys.executable, "-c", STATUS], check=True, capture_output=True, text=True)
    assert answer.stdout.endswith("2 empty\nset()\n")


def test_keys_are_those_of_the_storage_in_use(
    database: Connection, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_ranges(instance, [IdRange(10, 19), IdRange(1, 9)])
    assert partition_keys(database) == [IdRange(1, 9).key, IdRange(10, 19).key]
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with open_instance() as own:
        register_ranges(own, [IdRange(5, 6)])
    assert partition_keys(database) == [IdRange(5, 6).key]
