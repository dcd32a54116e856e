"""Memory for items and queries at once: what does not fit is refused, and every part is given back."""

from __future__ import annotations

import pytest

from twinveil.cloud.budget import Budget
from twinveil.errors import OutOfOrder, TooLarge, TooMuch


def test_what_does_not_fit_beside_the_others_is_refused() -> None:
    budget = Budget("cloud_s2", 10)
    with pytest.raises(TooLarge, match="ask for fewer pictures"), budget.take(11):
        pass
    with budget.take(6), budget.take(4), pytest.raises(TooMuch, match="try again later") as later:
        budget.take(1).__enter__()
    assert not isinstance(later.value, TooLarge)
    with pytest.raises(OutOfOrder), budget.take(10):
        raise OutOfOrder("however it ends")
    with budget.take(10):
        pass
