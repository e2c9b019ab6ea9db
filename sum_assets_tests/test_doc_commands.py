"""The commands in the documentation: each is one that there is, and CI runs it or a list says that it does not."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from sum_assets.cli.main import app
from sum_assets_tests.doc_blocks import PAGES, ROOT, commands, fenced, prose

_INLINE = re.compile(r"`((?:sum-assets|make) [^`\n]+)`")
#: What every shell has; `git` brings the checkout that CI runs in.
_SHELL = {"cat", "cd", "chmod", "chown", "echo", "export", "git", "head", "install", "sed", "tee"}
_MAKEFILE = (ROOT / "Makefile").read_text()
_TARGETS = set(re.findall(r"^([a-z][\w-]*):", _MAKEFILE, re.MULTILINE))
#: How tests call the command line: `run("db", "start")`, or with an address before it.
_CALL = r"\b(?:run|walk)\((?:[\w.]+, )?"


def in_blocks(page: Path) -> list[list[str]]:
    """Return the commands that a page shows in blocks."""
    return [words for block in fenced(page.read_text()) for words in commands(block)]


def in_prose(page: Path) -> list[list[str]]:
    """Return the commands of ours that a page names in its text: parts of them, with placeholders."""
    return [shlex.split(re.sub(r"[\[\]]", "", code)) for code in _INLINE.findall(prose(page.read_text()))]


def own_part(words: list[str]) -> list[str]:
    """Return the words after `sum-assets`, wherever it runs."""
    names = [Path(word).name for word in words]
    return words[names.index("sum-assets") + 1 :] if "sum-assets" in names else []


def named_command(words: Iterable[str]) -> tuple[str, Any]:
    """Return the command that words name, groups and all, with its path."""
    command: Any = get_command(app)
    path = ["sum-assets"]
    for word in words:
        if not isinstance(command, TyperGroup) or word not in command.commands:
            break
        command = command.commands[word]
        path.append(word)
    return " ".join(path), command


def form(words: list[str]) -> str:
    """Return what a command is by, without what it is given: `make demo`, `sum-assets db start`, `pip install`."""
    program, *rest = [words[0].removeprefix(".venv/bin/"), *words[1:]]
    if program == "sum-assets":
        return named_command(rest)[0]
    if program == "python" and rest[:2] == ["-m", "pip"]:
        program, rest = "pip", rest[2:]
    if program == "python":
        return f"python -m {rest[1]}"
    if program in ("make", "docker", "pip"):
        return f"{program} {rest[0]}"
    return "deploy/install" if program.endswith("/deploy/install") else program


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_line_in_a_block_parses(page: Path) -> None:
    for words in filter(None, map(own_part, in_blocks(page))):
        assert not {"--help", "--version"} & set(words), "parsed, these would print"
        command: Any = get_command(app)
        context = command.make_context("sum-assets", list(words))
        while isinstance(command, TyperGroup):
            name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found
            command, context = found, found.make_context(name, rest, parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_text_are_known_with_their_options(page: Path) -> None:
    for words in filter(None, map(own_part, in_prose(page))):
        path, command = named_command(words)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= known | {"--help"}, path
        of_group = not words[0].startswith("-") and not words[0].isupper()
        assert not (of_group and path == "sum-assets"), f"there is no {words[0]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_targets_and_variables_of_make_exist(page: Path) -> None:
    for words in [*in_blocks(page), *in_prose(page)]:
        if words[0] == "make":
            variables = {word.partition("=")[0] for word in words[1:] if "=" in word}
            assert {word for word in words[1:] if "=" not in word} <= _TARGETS
            assert all(f"$({variable})" in _MAKEFILE for variable in variables)


def test_ci_runs_each_command_or_the_list_says_that_it_does_not() -> None:
    shown = {form(words) for page in PAGES for words in [*in_blocks(page), *in_prose(page)]} - _SHELL - {"sum-assets"}
    tests = "\n".join(path.read_text() for path in (ROOT / "sum_assets_tests").rglob("test_*.py"))
    steps = re.findall(r"^make [\w-]+", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert steps
    called = {
        one
        for one in shown
        if one.startswith("sum-assets ")
        and re.search(_CALL + ", ".join(f'"{word}"' for word in one.split()[1:]) + r"[,)]", tests)
    }
    section = (ROOT / "docs" / "README.md").read_text().partition("\n## Not run in CI\n")[2]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    listed = {command for row in rows for command in re.findall(r"`([^`]+)`", row)}
    assert listed == shown - set(steps) - called
