"""The command that says what can run on this machine, and what is missing."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from sum_assets.cli.console import err, out, read_yaml
from sum_assets.doctor.finding import Finding, Level, findings_of
from sum_assets.errors import UserError
from sum_assets.units import counted

if TYPE_CHECKING:
    from sum_assets.doctor.engines import Find, Verdict
    from sum_assets.summarizer import GpuSettings, SummarizerSettings
    from sum_assets.summarizer.types import Architecture, Device

app = typer.Typer()

_MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "warning": ("warn", "bold yellow"),
    "failure": ("FAIL", "bold red"),
    "unsupported": ("no", "dim"),
}


@dataclass
class Report:
    """What was found so far; `verdicts` say in full what the findings on engines say in short.

    `usual_prompt` is the prompt that the model was most likely trained with, whatever the settings say.
    """

    findings: list[Finding] = field(default_factory=list)
    model: str | None = None
    architecture: "Architecture | None" = None
    usual_prompt: str | None = None
    devices: list["Device"] = field(default_factory=list)
    libraries: dict[str, str | None] = field(default_factory=dict)
    verdicts: list["Verdict"] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether nothing keeps runs or the UI from working."""
        return all(finding.level != "failure" for finding in self.findings)


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Run configuration with the settings to judge, a YAML file.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Judge this model instead of the configured one.")] = None,
    host: Annotated[str, typer.Option(help="The address for the UI.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port for the UI.", min=1, max=65535)] = 3000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what can run on this machine, what is missing, and what fixes it. Nothing is changed.

    Exit code 1 if something keeps runs or the UI from working.
    """
    report = look_and_show(config, model, host, port, as_json=as_json)
    if as_json:
        print(json.dumps(asdict(report) | {"works": report.works}, indent=2))
    else:
        out.print(_summary(report.findings))
    if not report.works:
        raise typer.Exit(1)


def look_and_show(
    config: Path | None, model: str | None, host: str = "127.0.0.1", port: int = 3000, *, as_json: bool = False
) -> Report:
    """Look at all parts, and show each as soon as it is known, unless the report will be JSON."""
    report = Report()
    with _without_warnings():
        for title, findings in _look(report, config, model, host, port):
            report.findings += findings
            if findings and not as_json:
                out.print(Text(title, style="bold"))
                out.print(_table(findings))
                out.print()
    return report


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep libraries from logging warnings of their own in between."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _look(
    report: Report, config: Path | None, model: str | None, host: str, port: int
) -> Iterator[tuple[str, list[Finding]]]:
    """Look at one part after the other: yield its title, and what was found."""
    with err.status("looking at the machine"):
        found = findings_of("machine", "devices", partial(_look_at_machine, report))
    yield "Machine", found
    with err.status("looking at the model"):
        settings: list[tuple[GpuSettings, SummarizerSettings, Find]] = []
        found = findings_of("model", "settings", partial(_look_at_settings, settings, config, model))
        for gpu, summarizer, find in settings:
            report.model = summarizer.model
            found += _look_at_model(gpu, summarizer, find)
            with suppress(Exception):  # which a finding names
                from sum_assets.summarizer.prompts import usual_prompt
                from sum_assets.summarizer.resolve import architecture_of

                files = find(summarizer.model, summarizer.revision)
                report.architecture = architecture_of(files)
                report.usual_prompt = usual_prompt(summarizer.model, files.config)
    yield f"Model {report.model or ''}", found
    known = {finding.message for finding in found}
    for _, summarizer, find in settings:
        yield from _look_at_engines(report, summarizer, find, known)
    with err.status("looking at the database"):
        from sum_assets.doctor.database import look_at_database

        found = look_at_database([device.torch_name for device in report.devices])
    yield "Database", found
    with err.status("looking at Dagster"):
        answers = any(finding.level == "ok" for finding in found)
        found = _look_at_dagster(host, port, answers)
    yield "Dagster", found


def _look_at_machine(report: Report) -> Iterator[Finding]:
    from sum_assets.doctor.machine import library_versions, look_at_devices, look_at_driver, look_at_libraries

    report.libraries = library_versions()
    for device, finding in look_at_devices():
        if device:
            report.devices.append(device)
        yield finding
    yield from look_at_driver()
    yield from look_at_libraries()


def _look_at_settings(
    settings: list[tuple["GpuSettings", "SummarizerSettings", "Find"]], config: Path | None, model: str | None
) -> Iterator[Finding]:
    """Add the settings to judge: those of the configuration, or the defaults where it cannot be read."""
    from sum_assets.defs.doctor import settings_of
    from sum_assets.doctor.engines import find_once

    try:
        gpu, summarizer = settings_of(read_yaml(config))
    except UserError as error:
        yield Finding("model", "failure", "run config", f"{error} The defaults are judged instead.")
        gpu, summarizer = settings_of({})
    settings.append((gpu, summarizer.model_copy(update={"model": model} if model else {}), find_once()))


def _look_at_model(gpu: "GpuSettings", summarizer: "SummarizerSettings", find: "Find") -> list[Finding]:
    from sum_assets.doctor.engines import judge_settings
    from sum_assets.doctor.model import look_at_model
    from sum_assets.summarizer.engine_registry import ENGINES

    found = findings_of("model", "files", partial(look_at_model, summarizer, find))
    if not ENGINES[gpu.engine].has_model:  # then none of it keeps a run from working
        found = [replace(one, level="warning") if one.level == "failure" else one for one in found]
    judged = judge_settings(gpu, summarizer, find)
    return found if judged.message in {one.message for one in found} else [*found, judged]


def _look_at_engines(
    report: Report, summarizer: "SummarizerSettings", find: "Find", known: set[str]
) -> Iterator[tuple[str, list[Finding]]]:
    from sum_assets.doctor.engines import group_alike, judge_device, summarize

    for group in group_alike(report.devices):
        with err.status("judging the engines"):
            verdicts = list(judge_device(group[0], summarizer, find))
        report.verdicts += verdicts
        yield f"Engines on {', '.join(device.torch_name for device in group)}", list(summarize(verdicts, known))


def _look_at_dagster(host: str, port: int, answers: bool) -> list[Finding]:
    from sum_assets.defs import doctor

    found = findings_of("dagster", "variables", doctor.look_at_environment)
    found += findings_of("dagster", "home", doctor.look_at_home)
    if answers:
        found += findings_of("dagster", "storage", doctor.look_at_instance)
    else:
        message = "The daemon and the pool are known once the database answers."
        found.append(Finding("dagster", "warning", "storage", message))
    return found + findings_of("dagster", "port", partial(doctor.look_at_port, host, port))


def _table(findings: Iterable[Finding]) -> Table:
    table = Table(
        Column(width=4), Column(no_wrap=True, min_width=12), Column(overflow="fold"), box=None, padding=(0, 1, 0, 0),
        show_header=False,
    )  # fmt: skip
    for _, of_subject in groupby(findings, key=lambda finding: finding.subject):
        for number, finding in enumerate(of_subject):
            mark, style = _MARKS[finding.level]
            dim = "dim" if finding.level == "unsupported" else ""
            subject = "" if number else finding.subject
            table.add_row(Text(mark, style), subject, Text(finding.message, dim))
    return table


def _summary(found: Sequence[Finding]) -> Text:
    levels = [finding.level for finding in found]
    failures = counted(levels.count("failure"), "failure keeps", "failures keep")
    style, says = "bold red", f"{failures} runs or the UI from working."
    if "failure" not in levels:
        style, says = "bold", "Runs and the UI can work here."
    if "warning" in levels:
        says += f" {counted(levels.count('warning'), 'warning')}."
    if any((finding.subject, finding.level) == ("tables", "warning") for finding in found):
        says += " The next step is `sum-assets init`."
    return Text(says, style)
