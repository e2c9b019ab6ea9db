"""The blocks of code in the documentation: what it tells a user to do is what the tests do."""

import re
from pathlib import Path

_DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str, heading: str, language: str = "") -> list[str]:
    """Return the blocks of a language under one heading of a page; the language of commands is empty."""
    _, found, rest = (_DOCS / page).read_text().partition(f"\n## {heading}\n")
    assert found, f"{page} has no heading {heading}"
    section = rest.partition("\n## ")[0]
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]
