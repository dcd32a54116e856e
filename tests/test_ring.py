"""Integers modulo 2^L on the wire."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinveil.errors import InvalidMessage
from twinveil.ring import pack_words, packed_bytes, unpack_words


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 64), st.lists(st.integers(0, (1 << 64) - 1), max_size=40))
def test_words_of_any_width_come_back(bits: int, values: list[int]) -> None:
    packed = pack_words(np.array(values, np.uint64), bits)
    assert len(packed) == packed_bytes(len(values), bits) == -(-len(values) * bits // 8)
    assert int.from_bytes(packed, "little") == sum(
        (value % (1 << bits)) << place * bits for place, value in enumerate(values)
    )
    assert unpack_words(packed, len(values), bits).tolist() == [value % (1 << bits) for value in values]
    for wrong in (packed + b"\0", packed[:-1]):
        if len(wrong) != len(packed):
            with pytest.raises(InvalidMessage, match="words of"):
                unpack_words(wrong, len(values), bits)
