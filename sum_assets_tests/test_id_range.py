"""Keys say what they cover, and nothing else passes for a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sum_assets.errors import UserError
from sum_assets.id_range import LARGEST_ID, IdRange

ids = st.integers(0, LARGEST_ID)


@given(st.tuples(ids, ids).map(sorted), st.tuples(ids, ids).map(sorted))
def test_keys_round_trip_and_sort_as_their_ranges(a: list[int], b: list[int]) -> None:
    first, second = IdRange(*a), IdRange(*b)
    assert IdRange.from_key(first.key) == first
    assert (first < second) == (first.key < second.key)


@pytest.mark.parametrize(
    "key", ["", "1-2", "0000000002-0000000001", "0000000001-0000000002\n", "0000000001_0000000002", "x" * 21]
)
def test_anything_else_is_no_key(key: str) -> None:
    with pytest.raises(UserError, match="is not a valid ID range"):
        IdRange.from_key(key)
