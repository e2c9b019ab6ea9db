"""The blocks of code in the documentation: what it tells a user to do is what the tests do."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
_DOCS = ROOT / "docs"
#: The pages for users.
PAGES = [ROOT / "README.md", *sorted(_DOCS.rglob("*.md"))]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_SEPARATORS = ("&&", "||", "|", ";")


def blocks(page: str, heading: str, language: str = "") -> list[str]:
    """Return the blocks of a language under one heading of a page; the language of commands is empty."""
    _, found, rest = (_DOCS / page).read_text().partition(f"\n## {heading}\n")
    assert found, f"{page} has no heading {heading}"
    return fenced(rest.partition("\n## ")[0], language)


def fenced(text: str, language: str = "") -> list[str]:
    """Return the blocks of a language; the language of commands is empty."""
    return [block for _, name, block in _FENCE.findall(text) if name == language]


def prose(text: str) -> str:
    """Return a page without its blocks."""
    return _FENCE.sub("", text)


def commands(block: str) -> Iterator[list[str]]:
    """Yield the words of each command of a block, without comments, `sudo` and redirections of output."""
    for line in block.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word in _SEPARATORS:
                if words:
                    yield words[1:] if words[0] == "sudo" else words
                words = []
            else:
                words.append(word)
