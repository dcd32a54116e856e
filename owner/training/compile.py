"""Compile: a torch network becomes a plan with proven integers.

trace (which layers) -> fold (batch normalisation) -> quantise -> prove -> QuantisedModel
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from owner.training.icnn import ICNN, TINY
from owner.training.quantise import RealLayer, quantise
from owner.training.tracing import LinearLayer, Traced, trace
from twinveil.network.fixed_point import Precision, prove
from twinveil.network.plan import Plan, QuantisedModel, Shape

__all__ = ["compile_network", "default_plan", "fold", "prove"]

DEFAULT_SIDE = 28
DEFAULT_CLASSES = 10


def compile_network(
    network: nn.Module, image_shape: Shape, precision: Precision | None = None
) -> QuantisedModel:
    """Integers that compute what `network` does on pictures (channels, height, width) of value pixel / 256.

    Raises BadPlan listing every layer that cannot be run, and Overflow naming every layer whose weights do
    not fit or whose sums could leave their width for some image.
    """
    traced = trace(network, image_shape, precision)
    model = quantise(traced.plan, fold(traced))
    prove(model)
    return model


def default_plan(side: int = DEFAULT_SIDE, channels: int = 1, small: bool = False) -> Plan:
    """The default network's plan for pictures of any side; `small`: hardly any channels, for a quick look."""
    shape = (channels, side, side)
    return trace(ICNN(shape, DEFAULT_CLASSES, TINY if small else None), shape).plan


def fold(traced: Traced) -> dict[str, RealLayer]:
    """Real weights of every linear layer by plan name, batch normalisation folded in; float32.

    gamma * (W x + b - mean) / sqrt(var + eps) + beta, with the running statistics, is itself W' x + b'.
    """
    return {name: _fold(layer) for name, layer in traced.linear.items()}


@torch.no_grad()
def _fold(layer: LinearLayer) -> RealLayer:
    weights = layer.module.weight.double()
    bias = layer.module.bias
    biases = torch.zeros(len(weights), dtype=torch.float64) if bias is None else bias.double()
    norm = layer.norm
    if norm is not None and norm.running_mean is not None and norm.running_var is not None:
        scale = torch.rsqrt(norm.running_var.double() + norm.eps)
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        weights = weights * scale.reshape(-1, 1, 1, 1)
        biases = (biases - norm.running_mean.double()) * scale
        if norm.bias is not None:
            biases = biases + norm.bias.double()
    return RealLayer(weights.numpy().astype(np.float32), biases.numpy().astype(np.float32))
