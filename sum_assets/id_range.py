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
        """Return the range that a key names. Raises UserError where the key is not valid."""
        match = _KEY.fullmatch(key)
        if not match or int(match[1]) > int(match[2]):
            raise UserError(
                f"{key!r} is not a valid ID range. Expected LOW-HIGH, for example "
                f"{IdRange(12486199, 16213218).key}. List the registered ranges: `sum-assets ranges`."
            )
        return cls(int(match[1]), int(match[2]))
