"""Networks and pictures from a seed: for vectors, fuzzing and tests. Nothing is trained, nobody is on them.

Every byte comes from SHAKE-256, so that vectors made from them hold on every machine.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from twinveil.sealing.network_files import Network, make_network
from twinveil.sealing.pixels import Pixels
from twinveil.sealing.randomness import stream

SIDE = 16
_WEIGHT_BITS = 9


class _Layers:
    """Layers with weights drawn by name."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self.tensors: dict[str, npt.NDArray[Any]] = {}

    def layer(
        self,
        op: str,
        name: str,
        shape: tuple[int, ...],
        activation: str = "linear",
        stride: int | None = None,
    ) -> dict[str, Any]:
        outputs = shape[1 if op == "deconv" else 0]
        drawn = np.frombuffer(self._drawn(name, 2 * int(np.prod(shape))), ">i2").astype(np.int16)
        self.tensors[f"{name}.weight"] = (drawn >> (15 - _WEIGHT_BITS)).reshape(shape)
        biases = np.frombuffer(self._drawn(name + " bias", 2 * outputs), ">i2").astype(np.int32)
        self.tensors[f"{name}.bias"] = biases << 2
        layer: dict[str, Any] = {"op": op, "name": name, "shift": 10, "activation": activation}
        return layer if stride is None else layer | {"stride": stride}

    def _drawn(self, name: str, count: int) -> bytes:
        return stream(self._seed.encode(), "synthetic " + name, count)


def variational(seed: str = "variational") -> Network:
    layers = _Layers(seed)
    parts = {
        "trunk": [
            layers.layer("dense", "dense", (16, SIDE * SIDE), "relu"),
            {"op": "reshape", "shape": [4, 2, 2]},
            layers.layer("deconv", "up1", (4, 4, 3, 3), "relu", 2),
            layers.layer("deconv", "up2", (4, 3, 3, 3), "relu", 2),
            layers.layer("deconv", "up3", (3, 2, 3, 3), "relu", 2),
        ],
        "mean": [layers.layer("deconv", "mean", (2, 1, 3, 3), stride=1)],
        "log_variance": [layers.layer("deconv", "log_variance", (2, 1, 3, 3), stride=1)],
        "decoder": [
            layers.layer("conv", "down1", (2, 1, 3, 3), "relu", 2),
            layers.layer("conv", "down2", (3, 2, 3, 3), "relu", 2),
            layers.layer("conv", "down3", (4, 3, 3, 3), "relu", 2),
            layers.layer("dense", "chances", (SIDE * SIDE, 16)),
        ],
    }
    return make_network("variational", SIDE, parts, layers.tensors, {"synthetic": seed})


def adversarial(seed: str = "adversarial", form: str = "rows") -> Network:
    layers = _Layers(seed)
    parts = {
        "generator": [
            layers.layer("dense", "dense", (64, SIDE * SIDE), "relu"),
            layers.layer("affine", "norm", (64,), "leaky"),
            {"op": "reshape", "shape": [4, 4, 4]},
            layers.layer("deconv", "up1", (4, 6, 5, 5), "relu", 1),
            layers.layer("deconv", "up2", (6, 4, 5, 5), "relu", 2),
            layers.layer("deconv", "up3", (4, 1, 5, 5), "tanh", 2),
        ]
    }
    return make_network("adversarial", SIDE, parts, layers.tensors, {"synthetic": seed, "form": form})


def recogniser(seed: str = "recogniser", threshold: int = 24000) -> Network:
    layers = _Layers(seed)
    parts = {
        "features": [
            layers.layer("conv", "conv", (4, 1, 3, 3), "linear", 2),
            layers.layer("dense", "features", (32, 4 * (SIDE // 2) ** 2)),
        ]
    }
    return make_network(
        "recogniser", SIDE, parts, layers.tensors, {"synthetic": seed, "threshold": threshold}
    )


def picture(who: str, shot: int = 0, side: int = 48) -> Pixels:
    """A grey pattern; the same `who` looks alike in every shot, others look otherwise."""
    coarse = np.frombuffer(stream(who.encode(), "pattern", 64), np.uint8).astype(np.int64).reshape(8, 8)
    large = np.kron(coarse, np.ones((side // 8, side // 8), dtype=np.int64))
    grain = np.frombuffer(stream(f"{who} {shot}".encode(), "grain", side * side), np.uint8).astype(np.int64)
    levels = large + grain.reshape(side, side) // 8 - 16
    return np.asarray(np.clip(levels, 0, 255), dtype=np.uint8)


def png(pixels: Pixels) -> bytes:
    """As a device seals it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
