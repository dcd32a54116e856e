"""Real weights to integers, and the network that trains while it already computes in integers.

The twin is the oracle's arithmetic in torch: integers held in float32, where sums below 2^24 are exact. Its
rounding has no useful derivative, so gradients pass straight through it (Bengio et al. 2013). After every
step the weights are projected back to where `fixed_point.prove` will accept them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from twinveil.errors import Overflow
from twinveil.network import fixed_point
from twinveil.network.plan import (
    IMAGE,
    Concat,
    Conv,
    Dense,
    IntArray,
    Linear,
    MaxPool,
    Plan,
    QuantisedModel,
    Relu,
)

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RealLayer:
    """Folded real weights of one layer, as plan.weight_shape, and biases (out,); float32."""

    weights: FloatArray
    biases: FloatArray


def quantise(plan: Plan, real: Mapping[str, RealLayer]) -> QuantisedModel:
    """Nearest integers at the plan's scales.

    Half a unit of the next activation is added to every convolution's bias, so that its floor rounds to
    nearest. Raises Overflow naming every layer with a weight or bias beyond its width: clipping it silently
    would be another network.
    """
    weights: dict[str, IntArray] = {}
    biases: dict[str, IntArray] = {}
    faults = []
    for node in plan.linear_nodes:
        weight_scale, bias_scale, half = _scales(plan, node)
        weights[node.name] = np.rint(real[node.name].weights * weight_scale).astype(np.int64)
        biases[node.name] = np.rint(real[node.name].biases * bias_scale + half).astype(np.int64)
        for what, values, bits, scale in (
            ("weight", weights[node.name], node.weight_bits, weight_scale),
            ("bias", biases[node.name], node.accumulator_bits, bias_scale),
        ):
            largest = 1 << (bits - 1)
            if values.min() < -largest or values.max() >= largest:
                found = max(values.max(), -values.min()) / scale
                limit = largest / scale
                faults.append(f"layer {node.name!r} has a {what} of size {found:.3g}, beyond {limit:.3g}")
    if faults:
        raise Overflow("the weights do not fit (fine-tune the network in fixed point): " + "; ".join(faults))
    return QuantisedModel(plan, weights, biases)


class FixedPointTwin(nn.Module):
    """A plan as a trainable network: integers forward, real gradients backward.

    Parameters are the real (folded) weights of each linear layer.
    """

    def __init__(self, plan: Plan, real: Mapping[str, RealLayer]) -> None:
        super().__init__()
        self.plan = plan
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(torch.from_numpy(layer.weights.copy())) for name, layer in real.items()}
        )
        self.biases = nn.ParameterDict(
            {name: nn.Parameter(torch.from_numpy(layer.biases.copy())) for name, layer in real.items()}
        )
        self._scales = {node.name: _scales(plan, node) for node in plan.linear_nodes}

    def forward(self, pixels: Tensor) -> Tensor:
        """Class scores (n, classes) in real units, from pixels (n, channels, h, w) 0 .. 2^image_bits - 1."""
        vector = self.tensors(pixels)[self.plan.output.name]
        scores: Tensor = vector / float(1 << self.plan.fraction_bits)
        return scores

    def tensors(self, pixels: Tensor) -> dict[str, Tensor]:
        """Every tensor by name, as integers in floating point; the dense layer's is (n, classes)."""
        largest = float((1 << self.plan.image_bits) - 1)
        found = {IMAGE: _straight(torch.round, pixels).clamp(0.0, largest)}
        for node in self.plan.nodes:
            match node:
                case Conv():
                    weights, biases = self._integers(node)
                    found[node.name] = functional.conv2d(
                        found[node.source], weights, biases, node.stride, node.padding
                    )
                case Relu():
                    scaled = found[node.source] / float(1 << node.shift)
                    found[node.name] = _straight(torch.floor, scaled).clamp(0.0, float((1 << node.bits) - 1))
                case MaxPool():
                    found[node.name] = functional.max_pool2d(
                        found[node.source], node.size, node.stride, node.padding
                    )
                case Concat():
                    found[node.name] = torch.cat([found[source] for source in node.sources], dim=1)
                case Dense():
                    weights, biases = self._integers(node)
                    found[node.name] = functional.linear(found[node.source].flatten(1), weights, biases)
        return found

    def real(self) -> dict[str, RealLayer]:
        """The real weights as they are now."""
        return {
            name: RealLayer(weights.detach().numpy().copy(), self.biases[name].detach().numpy().copy())
            for name, weights in self.weights.items()
        }

    @torch.no_grad()
    def project(self) -> None:
        """Bring every filter back into its weight width and its accumulator's budget.

        The budget holds for inputs 0 .. 2^bits - 1 whatever the other layers do, so that one pass over the
        layers is enough: max(sum of positive, sum of negative) * largest + |bias| < 2^(L-1).
        """
        for node in self.plan.linear_nodes:
            weights, biases = self.weights[node.name], self.biases[node.name]
            weight_scale, bias_scale, half = self._scales[node.name]
            top = 1 << (node.weight_bits - 1)
            weights.clamp_(-top / weight_scale, (top - 1) / weight_scale)
            limit = 1 << (node.accumulator_bits - 1)
            room = limit // 4  # a bias takes at most a quarter of the range
            biases.clamp_((-room - half) / bias_scale, (room - half) / bias_scale)
            self._shrink(node, limit)

    def _shrink(self, node: Linear, limit: int) -> None:
        """Scale the filters that exceed `limit` down, until their rounded integers do not."""
        weights, biases = self.weights[node.name], self.biases[node.name]
        weight_scale, bias_scale, half = self._scales[node.name]
        largest = (1 << self.plan.bits[node.source]) - 1
        budget = torch.floor((limit - 1 - torch.round(biases * bias_scale + half).abs()) / largest)
        while True:
            flat = torch.round(weights * weight_scale).flatten(1)
            reach = torch.maximum(flat.clamp(min=0).sum(dim=1), -flat.clamp(max=0).sum(dim=1))
            if bool((reach <= budget).all()):
                return
            # Rounding can undo a little of the scaling, hence the margin and the loop.
            factor = torch.where(reach > budget, budget / reach * 0.999, 1.0)
            weights.mul_(factor.reshape(-1, *[1] * (weights.dim() - 1)))

    def _integers(self, node: Linear) -> tuple[Tensor, Tensor]:
        weight_scale, bias_scale, half = self._scales[node.name]
        return (
            _straight(torch.round, self.weights[node.name] * weight_scale),
            _straight(torch.round, self.biases[node.name] * bias_scale + half),
        )


def _straight(rounding: Callable[[Tensor], Tensor], exact: Tensor) -> Tensor:
    """rounding(exact) with the derivative of `exact`; the difference of the two is itself exact."""
    return exact + (rounding(exact) - exact).detach()


def _scales(plan: Plan, node: Linear) -> tuple[float, float, float]:
    """2^f of a layer's weights and of its biases, and half a unit of the activation behind it."""
    bits = fixed_point.scales(plan)
    shifts = [relu.shift for relu in plan.nodes if isinstance(relu, Relu) and relu.source == node.name]
    half = 2.0 ** (shifts[0] - 1) if shifts and shifts[0] else 0.0
    return 2.0 ** (bits[node.name] - bits[node.source]), 2.0 ** bits[node.name], half
