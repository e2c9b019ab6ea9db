"""Turns an ID range into a partition key and back."""

import re
from dataclasses import dataclass

from sum_assets.errors import UserError

WIDTH = 10
LARGEST_ID = 10**WIDTH - 1
_KEY = re.compile(rf"(\d{{{WIDTH}}})-(\d{{{WIDTH}}})")


@dataclass(frozen=True, slots=True, order=True)
class IdRange:
    """Abstract IDs `lo` to `hi`, both inclusive."""

    lo: int
    hi: int

    @property
    def key(self) -> str:
        """The partition key: both ends, zero-padded, so that keys sort as their ranges do."""
        return f"{self.lo:0{WIDTH}}-{self.hi:0{WIDTH}}"

    @classmethod
    def from_key(cls, key: str) -> "IdRange":
        """Return the range that a key names. Raises UserError where it names none."""
        match = _KEY.fullmatch(key)
        if not match or int(match[1]) > int(match[2]):
            raise UserError(
                f"{key!r} is no ID range. A partition key is two IDs of {WIDTH} digits, the smaller first, "
                f"such as {IdRange(12486199, 16213218).key}; `sum-assets ranges` lists them."
            )
        return cls(int(match[1]), int(match[2]))
