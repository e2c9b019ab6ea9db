"""Times and numbers as a person says them."""

import math

#: Abstracts of the corpus that the project was made for.
LAB_CORPUS = 3_680_000


def duration(days: float) -> str:
    """Return a time span in the unit that suits it."""
    for unit, per_day in (("days", 1), ("hours", 24), ("minutes", 1440)):
        if days * per_day >= 2:
            return f"{days * per_day:,.1f} {unit}"
    return f"{days * 86400:.0f} seconds"


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number and what is counted: "1 range is", "1,000 ranges are". Without `many`, an s is added."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def count(rows: int) -> str:
    """Return a number of rows as a person says it."""
    return f"{rows / 1e6:.3g} million" if rows >= 1_000_000 else f"{rows:,}"


def rounded(number: float) -> str:
    """Return a number with three significant digits, below 0.1 with two, and with four decimals at most."""
    digits = 2 if abs(number) >= 0.1 else 1
    decimals = digits - math.floor(math.log10(abs(number))) if number else 0
    return f"{number:,.{min(max(decimals, 0), 4)}f}"


def size(number: int) -> str:
    """Return a number of bytes on a disk as a person says it."""
    for unit, power in (("GB", 9), ("MB", 6)):
        if number >= 0.1 * 10**power:
            return (
                f"{number / 10**power:,.3g} {unit}"
                if number < 10 ** (power + 3)
                else f"{number / 10**power:,.0f} {unit}"
            )
    return f"{number / 1000:.3g} kB"
