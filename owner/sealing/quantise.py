"""A trained torch network as the integer layers of twinveil.sealing.network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from twinveil.errors import BadPlan
from twinveil.sealing.integers import FRACTION_BITS

_MOST_SHIFT = 14

_ACTIVATIONS: Mapping[type[nn.Module], str] = {nn.ReLU: "relu", nn.LeakyReLU: "leaky", nn.Tanh: "tanh"}


@dataclass(frozen=True, slots=True)
class Quantised:
    """layers: as they stand in network.json, by part; tensors: by "PART.NUMBER.weight" and ".bias"."""

    parts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tensors: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def add(self, part: str, network: nn.Sequential) -> Quantised:
        """Quantises a part. Raises BadPlan for a layer without an integer form."""
        layers: list[dict[str, Any]] = []
        for module in network:
            kind = type(module)
            if kind in _ACTIVATIONS:
                if not layers or layers[-1].get("activation") != "linear":
                    raise BadPlan("an activation needs a layer with weights before it")
                layers[-1]["activation"] = _ACTIVATIONS[kind]
            elif isinstance(module, nn.Unflatten):
                layers.append({"op": "reshape", "shape": list(module.unflattened_size)})
            elif isinstance(module, nn.BatchNorm2d):
                self._fold(layers[-1], module)
            elif not isinstance(module, nn.Flatten | nn.Dropout):
                layers.append(self._layer(f"{part}.{len(layers)}", module))
        self.parts[part] = layers
        return self

    def _layer(self, name: str, module: nn.Module) -> dict[str, Any]:
        layer: dict[str, Any] = {"name": name, "activation": "linear"}
        weight: Tensor
        bias: Tensor | None
        if isinstance(module, nn.BatchNorm1d):
            weight, bias = _scale_and_shift(module)
            layer |= {"op": "affine"}
        elif isinstance(module, nn.Linear):
            weight, bias = module.weight, module.bias
            layer |= {"op": "dense"}
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            weight, bias = module.weight, module.bias
            op = "conv" if isinstance(module, nn.Conv2d) else "deconv"
            layer |= {"op": op, "stride": module.stride[0]}
        else:
            raise BadPlan(f"a layer {type(module).__name__} has no integer form here")
        outputs = weight.shape[1 if layer["op"] == "deconv" else 0]
        self._put(layer, weight, torch.zeros(outputs) if bias is None else bias)
        return layer

    def _fold(self, layer: dict[str, Any], norm: nn.BatchNorm2d) -> None:
        """Batch normalisation straight after a convolution becomes part of it."""
        weight, bias = self._real(layer)
        scale, shift = _scale_and_shift(norm)
        self._put(layer, weight * scale.reshape(-1, 1, 1, 1), bias * scale + shift)

    def _real(self, layer: dict[str, Any]) -> tuple[Tensor, Tensor]:
        weight, bias = layer["real"]
        return weight, bias

    def _put(self, layer: dict[str, Any], weight: Tensor, bias: Tensor) -> None:
        real = weight.detach().double(), bias.detach().double()
        largest = max(float(real[0].abs().max()), 1e-6)
        shift = min(_MOST_SHIFT, math.floor(math.log2(32767 / largest)))
        while float(real[1].abs().max()) * 2 ** (shift + FRACTION_BITS) >= 2**31 and shift > 0:
            shift -= 1
        if shift < 0:
            raise BadPlan(f"the weights of {layer['name']} are too large")
        layer["shift"] = shift
        layer["real"] = real
        self.tensors[f"{layer['name']}.weight"] = _rounded(real[0], shift, np.int16)
        self.tensors[f"{layer['name']}.bias"] = _rounded(real[1], shift + FRACTION_BITS, np.int32)

    def description(self) -> dict[str, list[dict[str, Any]]]:
        """The parts without the real weights."""
        return {
            part: [{key: value for key, value in layer.items() if key != "real"} for layer in layers]
            for part, layers in self.parts.items()
        }


def _scale_and_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    if norm.running_mean is None or norm.running_var is None:
        raise BadPlan("batch normalisation without running statistics cannot be quantised")
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _rounded(values: Tensor, bits: int, dtype: type[np.signedinteger[Any]]) -> npt.NDArray[Any]:
    limits = np.iinfo(dtype)
    scaled = np.rint(values.numpy() * 2.0**bits)
    return np.clip(scaled, limits.min, limits.max).astype(dtype)
