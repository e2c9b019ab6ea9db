"""An abstract on its way through: as the source holds it, summarized, or rejected."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Abstract:
    """One text to summarize, as it was read.

    `source_hash` is the database's hash of the text, which its result is stored under. `is_null` marks an abstract
    that is NULL in the source; its text is then empty.
    """

    abstract_id: int
    text: str
    source_hash: bytes = b""
    is_null: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """One summary, with its lengths in tokens. `finish_reason` is `length` where it hit the output limit."""

    abstract_id: int
    text: str
    input_tokens: int
    output_tokens: int
    input_truncated: bool
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """An abstract that has no summary, and why."""

    abstract_id: int
    reason: str
    detail: str
