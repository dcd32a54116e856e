"""The network of the method: its layers are counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from owner.training.icnn import ICNN, TINY, Widths
from owner.training.tracing import trace
from twinveil.errors import BadInput, BadPlan
from twinveil.network.plan import Conv, Dense, MaxPool, Relu, Shape


def test_it_has_the_published_layers() -> None:
    modules = list(ICNN((1, 28, 28), 10).modules())
    convolutions = Counter(m.kernel_size for m in modules if isinstance(m, nn.Conv2d))
    pools = Counter(m.kernel_size for m in modules if isinstance(m, nn.MaxPool2d))
    assert convolutions == {(1, 1): 5, (3, 3): 3, (5, 5): 2, (7, 7): 1}
    assert pools == {3: 3, 2: 1}
    assert sum(isinstance(m, nn.Linear) for m in modules) == 1
    assert sum(isinstance(m, nn.ReLU) for m in modules) == 11


def test_its_plan_has_them_too_and_costs_what_the_design_says() -> None:
    plan = trace(ICNN((1, 28, 28), 10), (1, 28, 28)).plan
    kernels = Counter(node.kernel for node in plan.nodes if isinstance(node, Conv))
    pools = Counter(node.size for node in plan.nodes if isinstance(node, MaxPool))
    assert kernels == {(1, 1): 5, (3, 3): 3, (5, 5): 2, (7, 7): 1}
    assert pools == {3: 3, 2: 1}
    assert isinstance(plan.nodes[-1], Dense)
    assert sum(plan.products(node) for node in plan.linear_nodes) == 953_424
    relus = [node for node in plan.nodes if isinstance(node, Relu)]
    assert sum(int(np.prod(plan.shapes[node.name])) for node in relus) == 7_056
    assert plan.shapes["stem_pool"] == (8, 7, 7)
    assert (plan.shapes["a_concat"], plan.shapes["b_concat"]) == ((48, 7, 7), (88, 7, 7))
    assert plan.taps(plan.output) == 792
    assert max(node.accumulator_bits for node in plan.linear_nodes) == 22


@pytest.mark.parametrize("shape", [(1, 5, 5), (1, 8, 8), (3, 28, 32), (1, 56, 56), (3, 64, 64), (1, 112, 92)])
@pytest.mark.parametrize("widths", [TINY, Widths()])
def test_every_size_is_built_and_traced(shape: Shape, widths: Widths) -> None:
    network = ICNN(shape, 7, widths).eval()
    assert network(torch.zeros(2, *shape)).shape == (2, 7)
    assert trace(network, shape).plan.output.out_features == 7


@pytest.mark.parametrize(("shape", "classes"), [((1, 4, 28), 10), ((2, 28, 28), 10), ((1, 28, 28), 1)])
def test_what_cannot_be_built_is_refused(shape: Shape, classes: int) -> None:
    with pytest.raises(BadPlan):
        ICNN(shape, classes)


def test_batch_normalisation_leaves_no_trace_in_the_plan() -> None:
    with_norm, without = (ICNN((1, 12, 12), 3, TINY, batch_norm=on) for on in (True, False))
    assert trace(with_norm, (1, 12, 12)).plan == trace(without, (1, 12, 12)).plan


def test_a_network_comes_back_from_its_tensors() -> None:
    network = ICNN((1, 12, 12), 3, TINY, batch_norm=False).eval()
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    again = ICNN.from_tensors(tensors, (1, 12, 12))
    picture = torch.rand(1, 1, 12, 12)
    assert torch.equal(again(picture), network(picture))
    for spoiled in (
        {},
        {**tensors, "dense.bias": tensors["dense.bias"][:2]},
        {**tensors, "more": np.zeros(1)},
    ):
        with pytest.raises(BadInput):
            ICNN.from_tensors(spoiled, (1, 12, 12))
    with pytest.raises(BadInput):
        ICNN.from_tensors(tensors, (1, 28, 28))


def test_widths_scale_and_never_vanish() -> None:
    assert Widths().scaled(1) == Widths()
    assert Widths().scaled(0.5).stem3 == 8
    assert Widths().scaled(0.01).b.three == 1
    for factor in (0.0, -1.0, 17.0, float("nan")):
        with pytest.raises(BadInput):
            Widths().scaled(factor)
