"""The results as Markdown."""

from typing import Any


def as_markdown(report: dict[str, Any]) -> str:
    """Return the report as tables: rates, checks, and what was left out."""
    device = report["device"]
    lines = ["# Proof on a GPU", ""]
    if report["rehearsal"]:
        lines += ["**A rehearsal on a CPU, with tiny models. It proves nothing about a GPU.**", ""]
    if device:
        versions = ", ".join(f"{name} {version}" for name, version in device["versions"].items())
        capability = device["capability"] and ".".join(map(str, device["capability"]))
        facts = [device["name"], capability and f"compute capability {capability}", versions]
        lines += ["; ".join(filter(None, facts)) + f". {report['seconds']:.0f} s in all.", ""]
    lines += _table(
        ("model", "engine", "settings", "abstracts/s", "share of the limit", "binds", "watts", "utilization", "memory"),
        [
            (
                rate["model"],
                rate["engine"],
                ", ".join(f"{name} {value}" for name, value in rate["settings"].items() if name != "engine"),
                f"{rate['abstracts_per_second']:.3g}",
                _number(rate["share_of_limit"], ".1%"),
                rate["binds"] or "",
                _number(rate["watts"], ".0f"),
                _number(rate["utilization"], ".0%"),
                _number(rate["peak_device_bytes"], ".2f", 2**30, " GiB"),
            )
            for rate in report["rates"]
        ],
    )
    lines += _table(
        ("check", "", "detail"),
        [(check["name"], "ok" if check["ok"] else "**failed**", check["detail"]) for check in report["checks"]],
    )
    lines += _table(("left out", "reason"), [(left["name"], left["reason"]) for left in report["left_out"]])
    return "\n".join(lines)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return [lines[0], "|" + "---|" * len(head), *lines[1:], ""]


def _number(value: float | None, form: str, unit: float = 1, after: str = "") -> str:
    return "" if value is None else format(value / unit, form) + after
