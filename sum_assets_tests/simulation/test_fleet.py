"""Fleet files: those shipped, and the errors for wrong ones."""

from pathlib import Path

import pytest

from sum_assets.errors import UserError
from sum_assets.paths import project_file
from sum_assets.simulation.fleet import Rate, read_fleet
from sum_assets.simulation.monte_carlo import simulate


@pytest.mark.parametrize("path", sorted(project_file("fleets").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_fleets_play_and_say_what_they_assume(path: Path) -> None:
    of = read_fleet(path).model_copy(update={"rows": 400_000, "repetitions": 2})
    of = of.with_rates({name: Rate(name, 3.0, 5.0, 64, None) for name in of.presets})
    simulation = simulate(of)
    assert simulation.days.low > 0
    assert sum(g.rows_per_device * g.count for g in simulation.groups) == pytest.approx(of.rows)
    assert all(sum(g.shares.values()) == pytest.approx(1) and min(g.shares.values()) >= 0 for g in simulation.groups)
    assert len(simulation.assumptions) == sum(g.assumption is not None for g in of.devices.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: 5\n", "line 1: devices: Field required"),
        ("devices:\n  a:\n    count: 0\n    preset: x\n", "line 3: devices.a.count: .*greater than or equal to 1"),
        ("devices:\n  a: {count: 1}\n", "line 2: devices.a: .*either preset or abstracts_per_second"),
        ("devices:\n  a: {count: 1, abstracts_per_second: 2}\n", "line 2: devices.a: .*measured or assumption"),
        ("devices:\n  a: {count: 1, preset: x, crashs: {}}\n", "line 2: devices.a.crashs: Extra inputs"),
        ("devices: [", "is not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_fleet(path)
