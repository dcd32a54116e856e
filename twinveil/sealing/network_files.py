"""A sealing network on disk and on its way to devices: network.json and network.safetensors, in one folder.

network.json names the kind, the parts and their layers, and the SHA-256 of every tensor's bytes, so that the
digest of this one file stands for the whole network. Nothing in the files is executed or unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as format_tensors

from twinveil.errors import BadInput, BadPlan
from twinveil.files import private_folder, replace
from twinveil.sealing.integers import FRACTION_BITS
from twinveil.sealing.network import (
    ACTIVATIONS,
    MOST_TAPS,
    Affine,
    Conv,
    Deconv,
    Dense,
    Layer,
    Reshape,
    Scaling,
)
from twinveil.values import integer, read_json

FORMAT = "twinveil-sealing-network-1"
JSON_FILE, TENSORS_FILE = "network.json", "network.safetensors"
MOST_JSON_BYTES = 1 << 18
MOST_TENSOR_BYTES = 1 << 26
MOST_LAYERS = 64
MOST_VALUES = 1 << 22

_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)

Tensors = Mapping[str, npt.NDArray[Any]]
Description = Mapping[str, Sequence[Mapping[str, Any]]]
"""Part -> layers, as they stand in network.json."""

_WEIGHT_AXES = {"dense": 2, "affine": 1, "conv": 4, "deconv": 4}


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """parts: name -> layers to run. side: of the square picture that goes in. facts: what is known of it."""

    kind: str
    side: int
    parts: Mapping[str, tuple[Layer, ...]]
    facts: Mapping[str, Any]
    json_bytes: bytes = field(repr=False)
    tensor_bytes: bytes = field(repr=False)

    @property
    def digest(self) -> bytes:
        """32 bytes that stand for everything the network computes."""
        return hashlib.sha256(self.json_bytes).digest()


def make_network(
    kind: str, side: int, parts: Description, tensors: Tensors, facts: Mapping[str, Any]
) -> Network:
    """A network from layers and integer tensors ("NAME.weight" int16, "NAME.bias" int32). Raises BadPlan."""
    content = {
        "format": FORMAT,
        "kind": kind,
        "fraction_bits": FRACTION_BITS,
        "side": side,
        "parts": {name: [dict(layer) for layer in layers] for name, layers in parts.items()},
        "facts": dict(facts),
        "tensors": {name: _digest(tensor) for name, tensor in sorted(tensors.items())},
    }
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    packed = format_tensors({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    return parse_network(text.encode(), packed)


def parse_network(json_bytes: bytes, tensor_bytes: bytes) -> Network:
    """Raises BadPlan for files that do not belong together or describe no network."""
    if len(json_bytes) > MOST_JSON_BYTES or len(tensor_bytes) > MOST_TENSOR_BYTES:
        raise BadPlan("a sealing network's file is larger than any")
    try:
        content = read_json(json_bytes)
        tensors = parse_tensors(tensor_bytes)
        if content["format"] != FORMAT or content["fraction_bits"] != FRACTION_BITS:
            raise BadPlan(f"the sealing network is not of the format {FORMAT}")
        if {name: _digest(tensor) for name, tensor in tensors.items()} != content["tensors"]:
            raise BadPlan("a sealing network's tensors are not those of its network.json")
        side = integer(content["side"])
        if not 8 <= side <= 256:
            raise BadPlan("a sealing network's pictures have sides of 8 to 256 pixels")
        parts = {
            str(name): tuple(_layer(layer, tensors) for layer in layers[:MOST_LAYERS])
            for name, layers in content["parts"].items()
        }
        return Network(str(content["kind"]), side, parts, dict(content["facts"]), json_bytes, tensor_bytes)
    except BadPlan:
        raise
    except (SafetensorError, *_DAMAGED) as error:
        raise BadPlan("these files hold no sealing network") from error


def save_network(folder: Path, network: Network) -> None:
    """Writes both files; network.json, which makes the folder a network, comes last."""
    try:
        private_folder(folder)
        replace(folder / TENSORS_FILE, network.tensor_bytes)
        replace(folder / JSON_FILE, network.json_bytes)
    except OSError as error:
        raise BadInput(f"{folder} cannot be written: {error.strerror}") from None


def load_network(folder: Path) -> Network:
    """Raises BadInput if the folder holds no network, BadPlan if it is a damaged one."""
    try:
        contents = []
        for name, most in ((JSON_FILE, MOST_JSON_BYTES), (TENSORS_FILE, MOST_TENSOR_BYTES)):
            with (folder / name).open("rb") as file:
                contents.append(file.read(most + 1))
    except OSError as error:
        raise BadInput(f"{folder} holds no sealing network: {name}: {error.strerror}") from None
    try:
        return parse_network(*contents)
    except BadPlan as error:
        raise BadPlan(f"{folder}: {error}") from error


def _digest(tensor: npt.NDArray[Any]) -> str:
    little = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))
    head = f"{tensor.dtype.name} {tensor.shape}\n".encode()
    return hashlib.sha256(head + little.tobytes()).hexdigest()


def _layer(data: Mapping[str, Any], tensors: Tensors) -> Layer:
    op = data["op"]
    if op == "reshape":
        shape = tuple(integer(length) for length in data["shape"])
        if not shape or min(shape) < 1 or int(np.prod(shape, dtype=object)) > MOST_VALUES:
            raise BadPlan("a sealing network brings its values to no possible shape")
        return Reshape(shape)
    name = data["name"]
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    if weight.dtype != np.int16 or bias.dtype != np.int32:
        raise BadPlan("a sealing network's weights are int16 and its biases int32")
    if op not in _WEIGHT_AXES or weight.ndim != _WEIGHT_AXES[op] or not weight.size:
        raise BadPlan(f"the layer {name} is of no known kind or has weights of another")
    activation, shift = data["activation"], integer(data["shift"])
    if activation not in ACTIVATIONS or not 0 <= shift <= 24:
        raise BadPlan(f"the layer {name} has an unknown activation or shift")
    outputs = weight.shape[1 if op == "deconv" else 0]
    taps = weight.size // outputs if op != "affine" else 1
    if bias.shape != (outputs,) or taps > MOST_TAPS:
        raise BadPlan(f"the layer {name} has too many products in a sum, or a bias of another size")
    scaling = Scaling(bias.astype(np.int64), shift, activation)
    wide = weight.astype(np.int64)
    if op == "dense":
        return Dense(wide, scaling)
    if op == "affine":
        return Affine(wide, scaling)
    stride = integer(data["stride"])
    if weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0 or stride not in (1, 2):
        raise BadPlan(f"the layer {name} needs a square window of odd size and a stride of 1 or 2")
    return Conv(wide, scaling, stride) if op == "conv" else Deconv(wide, scaling, stride)
