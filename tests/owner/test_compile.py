"""Compiling: what cannot be run is refused at once and whole; what can is the same network in integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from owner.training.compile import compile_network, fold
from owner.training.icnn import ICNN, TINY
from owner.training.quantise import FixedPointTwin, RealLayer, quantise
from owner.training.tracing import trace
from tests.networks import edge_images, random_image
from twinveil.errors import BadPlan, Overflow
from twinveil.network import oracle
from twinveil.network.fixed_point import Precision, accumulator_bits, prove, scales
from twinveil.network.plan import Conv, Dense, MaxPool, Relu


def small_network(seed: int = 0) -> nn.Sequential:
    """Convolution, normalisation with statistics far from 0 and 1, ReLU, pool, dense."""
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(3)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False),
        norm,
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 4),
    )
    with torch.no_grad():
        norm.running_mean.copy_(torch.randn(3) * 0.1)  # type: ignore[union-attr]
        norm.running_var.copy_(torch.rand(3) + 0.5)  # type: ignore[union-attr]
        norm.weight.copy_(torch.rand(3) + 0.5)
        norm.bias.copy_(torch.randn(3) * 0.2)
    return network.eval()


def test_the_integers_compute_what_the_network_computes() -> None:
    network = small_network()
    model = compile_network(network, (1, 8, 8))
    assert [type(node) for node in model.plan.nodes] == [Conv, Relu, MaxPool, Dense]
    for image in (random_image(model.plan, 1), *edge_images(model.plan)):
        real = network(torch.from_numpy(image)[None].float() / 256)[0].detach().numpy()
        vector = oracle.run(model, image) / 2**model.plan.fraction_bits
        assert np.abs(vector - real).max() < 0.05


@pytest.mark.parametrize(
    "precision", [Precision(4, 8, 6), Precision(12, 8, 7), Precision(8, 4, 2), Precision(8, 8, 8)]
)
def test_precision_sets_widths_and_scales(precision: Precision) -> None:
    plan = trace(ICNN((1, 12, 12), 4, TINY).eval(), (1, 12, 12), precision).plan
    for node in plan.linear_nodes:
        assert node.weight_bits == precision.weight_bits
        taps, bits = plan.taps(node), plan.bits[node.source]
        assert node.accumulator_bits == accumulator_bits(taps, bits, precision.weight_bits)
    for relu in (node for node in plan.nodes if isinstance(node, Relu)):
        assert relu.bits == precision.activation_bits
        assert scales(plan)[relu.name] == precision.activation_fraction_bits
    assert scales(plan)[plan.output.name] == plan.fraction_bits


@pytest.mark.parametrize("values", [(1, 8, 6), (13, 8, 6), (8, 0, 0), (8, 9, 6), (8, 8, 9)])
def test_impossible_precisions_are_refused(values: tuple[int, int, int]) -> None:
    with pytest.raises(BadPlan):
        Precision(*values)


def test_folding_is_exact() -> None:
    network = small_network(1).double()
    real = fold(trace(network, (1, 8, 8)))
    picture = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    layer = next(iter(real.values()))
    weights, biases = torch.from_numpy(layer.weights).double(), torch.from_numpy(layer.biases).double()
    folded = functional.conv2d(picture, weights, biases, padding=1)
    assert torch.allclose(folded, network[1](network[0](picture)), atol=1e-6)


def test_activations_are_rounded_to_nearest_by_the_bias() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1, 2)).eval()
    with torch.no_grad():
        network[0].weight.fill_(0.5)  # type: ignore[union-attr, operator]
        network[0].bias.fill_(0.0)  # type: ignore[union-attr, operator]
    model = compile_network(network, (1, 1, 1))
    relu = next(node for node in model.plan.nodes if isinstance(node, Relu))
    for pixel in range(256):
        got = int(oracle.trace(model, np.full((1, 1, 1), pixel))[relu.name][0, 0, 0])
        assert got == int(pixel / 256 * 0.5 * 64 + 0.5)


class Everything(nn.Module):
    """Nearly every layer in it is unusable, each for another reason."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(2, 4, 3, groups=2, padding=1)
        self.dilated = nn.Conv2d(4, 4, 3, dilation=2, padding=2)
        self.reflected = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.same = nn.Conv2d(4, 4, 3, padding="same")
        self.skewed = nn.Conv2d(4, 4, 3, stride=(1, 2), padding=1)
        self.wide = nn.Conv2d(4, 4, 17, padding=8)
        self.bare = nn.Conv2d(4, 4, 1)
        self.average = nn.AvgPool2d(2)
        self.ceiling = nn.MaxPool2d(2, ceil_mode=True)
        self.stretched = nn.MaxPool2d((2, 1))
        self.norm = nn.BatchNorm2d(4)
        self.hidden = nn.Linear(4, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.grouped, self.dilated, self.reflected, self.same, self.skewed, self.wide):
            x = torch.relu(layer(x))
        x = torch.sigmoid(self.average(self.bare(x)))
        x = self.norm(self.stretched(self.ceiling(x)))
        return self.last(self.hidden((x + x).flatten(1)))


def test_every_unusable_layer_is_listed_at_once() -> None:
    with pytest.raises(BadPlan) as caught:
        compile_network(Everything(), (2, 16, 16))
    message = str(caught.value)
    assert "\n" not in message
    for name, reason in {
        "grouped": "2 groups",
        "dilated": "dilation 2 x 2",
        "reflected": "padding mode reflect",
        "same": "padding 'same'",
        "skewed": "stride 1 x 2",
        "wide": "window 17 x 17",
        "bare": "followed by one ReLU",
        "average": "AvgPool2d has no encrypted form",
        "sigmoid": "sigmoid has no encrypted form",
        "ceiling": "ceil_mode",
        "stretched": "window 2 x 1",
        "addition": "addition has no encrypted form",
        "hidden": "can only be the last",
    }.items():
        assert f"layer '{name}': " in message, name
        assert reason in message, name


def conv_relu(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), *layers)


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.conv(self.conv(x).relu()).relu().flatten(1))


class Joined(nn.Module):
    """Concatenates what `join` says."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor], features: int) -> None:
        super().__init__()
        self.join, self.conv, self.dense = join, nn.Conv2d(1, 1, 3, padding=1), nn.Linear(features, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.join(x, self.conv(x).relu()).flatten(1))


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (conv_relu(), "must end in one dense layer"),
        (conv_relu(nn.Flatten()), "must end in one dense layer"),
        (conv_relu(nn.Flatten(), nn.Linear(100, 2)), "wants 100 features and gets 128"),
        (conv_relu(nn.Flatten(), nn.Linear(128, 2), nn.ReLU()), "can only be the last"),
        (conv_relu(nn.Flatten(), nn.Linear(128, 2), nn.Softmax(1)), "Softmax has no encrypted form"),
        (conv_relu(nn.Linear(8, 2)), "flatten its input first"),
        (conv_relu(nn.Flatten(2), nn.Linear(64, 2)), "start_dim=1"),
        (
            conv_relu(nn.Conv2d(3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)),
            "wants 3 channels and gets 2",
        ),
        (conv_relu(nn.MaxPool2d(9), nn.Flatten(), nn.Linear(2, 2)), "larger than its input"),
        (conv_relu(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(128, 2)), "right after a convolution"),
        (nn.Sequential(nn.Conv2d(1, 2, 1), nn.MaxPool2d(2), nn.ReLU()), "followed by one ReLU"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False), nn.ReLU()),
            "without running statistics",
        ),
        (TwoInputs(), "exactly one input"),
        (Branching(), "cannot be followed"),
        (Shared(), "used twice"),
        (Joined(lambda x, y: torch.cat([x, y], dim=1), 128), "different scales"),
        (Joined(lambda x, y: torch.cat([y, y], dim=2), 128), "dim=1"),
        (
            Joined(lambda x, y: torch.cat([y, functional.max_pool2d(y, 2)], dim=1), 80),
            "differ in height or width",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(network: nn.Module, reason: str) -> None:
    with pytest.raises(BadPlan, match=reason):
        compile_network(network, (1, 8, 8))


def test_functions_idle_layers_and_repeated_inputs_are_understood() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.idle = nn.Dropout(), nn.Identity()
            self.first, self.dense = nn.Conv2d(1, 1, (3, 1)), nn.Linear(24, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = functional.relu(self.drop(self.idle(self.first(x))))
            x = functional.max_pool2d(torch.cat((x, x), 1), kernel_size=2, ceil_mode=False)
            return self.dense(torch.flatten(self.drop(x.relu()), 1))

    model = compile_network(Plain().eval(), (1, 8, 8))
    assert [node.kind for node in model.plan.nodes] == ["conv", "relu", "concat", "maxpool", "dense"]
    assert model.plan.shapes[model.plan.nodes[-2].name] == (2, 3, 4)


def test_weights_beyond_their_width_are_refused_by_name() -> None:
    network = small_network()
    with torch.no_grad():
        network[5].weight[0, 0] = 50.0  # type: ignore[index, operator]
    with pytest.raises(Overflow, match="layer 'layer_5' has a weight of size 50"):
        compile_network(network, (1, 8, 8))


def test_sums_beyond_their_width_are_refused_by_name() -> None:
    network = small_network()
    with torch.no_grad():
        network[5].weight.fill_(0.9)  # type: ignore[operator]
        network[0].weight.fill_(0.3)  # type: ignore[operator]
    with pytest.raises(Overflow, match="layer 'layer_5' can reach"):
        compile_network(network, (1, 8, 8))


def random_twin(seed: int) -> FixedPointTwin:
    torch.manual_seed(seed)
    traced = trace(ICNN((1, 12, 12), 4, TINY).eval(), (1, 12, 12))
    source = np.random.default_rng(seed)
    real = {
        name: RealLayer(
            source.normal(0, 3, layer.weights.shape).astype(np.float32),
            source.normal(0, 30, layer.biases.shape).astype(np.float32),
        )
        for name, layer in fold(traced).items()
    }
    return FixedPointTwin(traced.plan, real)


def test_projection_brings_any_weights_into_proven_widths_and_then_rests() -> None:
    for seed in range(5):
        twin = random_twin(seed)
        with pytest.raises(Overflow):
            prove(quantise(twin.plan, twin.real()))
        twin.project()
        once = twin.real()
        prove(quantise(twin.plan, once))
        twin.project()
        assert all((twin.real()[name].weights == layer.weights).all() for name, layer in once.items())


def test_the_training_twin_equals_the_oracle_on_every_tensor() -> None:
    twin = random_twin(9)
    twin.project()
    model = quantise(twin.plan, twin.real())
    for image in (random_image(model.plan, 3), *edge_images(model.plan)):
        tensors = twin.tensors(torch.from_numpy(image)[None].float())
        for name, expected in oracle.trace(model, image).items():
            assert (tensors[name][0].detach().numpy().reshape(expected.shape) == expected).all(), name


def test_gradients_reach_every_weight_through_the_rounding() -> None:
    twin = random_twin(2)
    twin.project()
    pixels = torch.from_numpy(np.stack([random_image(twin.plan, s) for s in range(16)])).float()
    twin(pixels).square().sum().backward()
    for name, weights in twin.weights.items():
        assert weights.grad is not None, name
        assert torch.isfinite(weights.grad).all(), name
    assert twin.weights["dense"].grad.abs().sum() > 0
