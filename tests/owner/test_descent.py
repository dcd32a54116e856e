"""One step down the loss: what it changes, and that it says where training diverges."""

from __future__ import annotations

import math

import pytest
import torch

from owner.training.descent import descend
from twinveil.errors import BadInput


def weight_and_optimizer() -> tuple[torch.nn.Parameter, torch.optim.SGD]:
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    return weight, torch.optim.SGD([weight], lr=1.0)


def test_a_step_goes_down_the_gradient_of_this_loss_alone() -> None:
    weight, optimizer = weight_and_optimizer()
    weight.grad = torch.tensor([100.0, 100.0])
    assert descend(optimizer, weight.square().sum() / 4) == 6.25
    assert weight.tolist() == [1.5, 2.0]


def test_a_gradient_is_no_longer_than_said() -> None:
    weight, optimizer = weight_and_optimizer()
    descend(optimizer, weight.square().sum(), longest=1.0)
    assert weight.tolist() == pytest.approx([2.4, 3.2], abs=1e-5)


@pytest.mark.parametrize("factor", [math.inf, math.nan])
def test_a_diverging_loss_changes_nothing_and_says_what_to_do(factor: float) -> None:
    weight, optimizer = weight_and_optimizer()
    with pytest.raises(BadInput, match="training diverged: choose another seed"):
        descend(optimizer, weight.sum() * factor, hint="choose another seed")
    assert weight.tolist() == [3.0, 4.0]
