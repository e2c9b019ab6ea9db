"""The documentation: its links resolve, and its reference pages name everything that exists."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.core import TyperGroup, TyperOption
from typer.main import get_command

from sum_assets.benchmark.sweep import Sweep
from sum_assets.cli.main import app
from sum_assets.defs.assets.benchmark import BenchmarkConfig
from sum_assets.defs.corpus_config import CorpusConfig
from sum_assets.defs.resources import GpuResource, PostgresResource, SummarizerResource
from sum_assets.simulation.fleet import Fleet, Group, Runs
from sum_assets_tests.doc_blocks import ROOT, prose

DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md"), *ROOT.glob("C*.md")])
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def page(name: str) -> str:
    return (DOCS / name).read_text()


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path: Path) -> list[str]:
    text = _CODE.sub("", prose(path.read_text()))
    return [link for link in _LINK.findall(text) if "://" not in link]


def commands(command: Any, path: str = "sum-assets") -> Iterator[tuple[str, Any]]:
    """Yield every command and group of commands, with its path."""
    yield path, command
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from commands(child, f"{path} {name}")


def missing(names: list[str], text: str) -> list[str]:
    """Return the names that stand in no inline code of a page."""
    code = "\n".join(_CODE.findall(prose(text)))
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", code)]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 140


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{path.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{path.name} links to {link}"


def test_every_page_is_in_the_index() -> None:
    index = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "README.md")}
    assert set(DOCS.rglob("*.md")) - index == {DOCS / "README.md"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(path: Path) -> None:
    names = re.findall(
        r"(?<![\w/])(?:sum_assets|sum_assets_tests|sql|deploy|sweeps|fleets)/[\w./-]*\w", path.read_text()
    )
    assert [name for name in names if "NNNN" not in name and not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "config",
    [GpuResource, SummarizerResource, PostgresResource, CorpusConfig, BenchmarkConfig],
    ids=lambda config: config.__name__,
)
def test_every_field_of_the_run_configuration(config: type) -> None:
    assert missing(list(config.model_fields), page("reference/run-configuration.md")) == []  # type: ignore[attr-defined]


def test_every_value_of_the_gpu_settings() -> None:
    names = [
        value
        for field in ("engine", "precision", "quantization", "attention")
        for value in get_args(GpuResource.model_fields[field].annotation)
    ]
    assert missing(names, page("reference/run-configuration.md")) == []


def test_every_field_of_sweep_and_fleet_files() -> None:
    text = page("reference/sweep-and-fleet-files.md")
    names = [name for model in (Sweep, Fleet, Group, Runs) for name in model.model_fields]
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_every_command_and_option() -> None:
    text = page("reference/commands.md")
    by_path = dict(commands(get_command(app)))
    assert missing(list(by_path), text) == []
    options = {
        max(parameter.opts, key=len)
        for command in by_path.values()
        for parameter in command.params
        if isinstance(parameter, TyperOption)
    }
    assert "--config" in options
    assert missing(sorted(options), text) == []


def test_every_table_and_column() -> None:
    text = page("reference/tables.md")
    columns: dict[str, set[str]] = {}
    for path in sorted((ROOT / "sql" / "migrations").glob("*.sql")):
        sql = re.sub(r"--.*", "", path.read_text())
        for table, body in re.findall(r"CREATE TABLE sum_assets\.(\w+) \((.*?)\n\);", sql, re.DOTALL):
            columns[table] = set(re.findall(r"^    ([a-z]\w*) ", body, re.MULTILINE))
        for table, body in re.findall(r"ALTER TABLE sum_assets\.(\w+)(.*?);", sql, re.DOTALL):
            columns[table] |= set(re.findall(r"ADD COLUMN (\w+)", body))
            for old, new in re.findall(r"RENAME COLUMN (\w+) TO (\w+)", body):
                columns[table] = columns[table] - {old} | {new}
    assert columns
    assert missing([*columns, "source_abstract"], text) == []
    assert missing(sorted(set().union(*columns.values())), text) == []


def test_every_environment_variable() -> None:
    sources = [*(ROOT / "sum_assets").rglob("*.py"), ROOT / "Makefile", ROOT / "dagster.yaml"]
    names = {name for path in sources for name in re.findall(r"\bSUM_ASSETS_[A-Z_]*[A-Z]", path.read_text())}
    assert names
    assert missing(sorted(names), page("reference/environment.md")) == []


def test_every_engine() -> None:
    engines = list(get_args(GpuResource.model_fields["engine"].annotation))
    assert engines
    assert missing(engines, page("explanation/engines.md")) == []
