"""Networks to measure, of arbitrary integers: cost depends on the plan alone, so nothing is trained."""

from __future__ import annotations

import hashlib
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from twinveil.errors import BadConfiguration
from twinveil.network.card import ModelCard
from twinveil.network.folder import save_model
from twinveil.network.plan import Plan, QuantisedModel
from twinveil.start.extras import needs
from twinveil.version import VERSION

LARGEST_WEIGHT = 3
"""Small enough that no sum leaves its accumulator on any layer of the default network."""


def default_plan(side: int = 28, channels: int = 1, small: bool = False) -> Plan:
    """The default network's (owner/training/compile.py). BadConfiguration without the owner's extra."""
    try:
        from owner.training import compile as compiling
    except ImportError as error:
        what = needs("the default network is the owner's, which", error.name or str(error))
        raise BadConfiguration(f"{what}, or give the folder of a trained model") from None
    return compiling.default_plan(side, channels, small)


def any_model(plan: Plan) -> QuantisedModel:
    """A network of that plan with arbitrary weights, the same every time."""
    weights, biases = {}, {}
    for node in plan.linear_nodes:
        shape = plan.weight_shape(node)
        span = 2 * LARGEST_WEIGHT + 1
        weights[node.name] = arbitrary(node.name, shape).astype(np.int64) % span - LARGEST_WEIGHT
        biases[node.name] = arbitrary(f"{node.name} bias", shape[:1]).astype(np.int64) % span - LARGEST_WEIGHT
    return QuantisedModel(plan, weights, biases)


def some_pictures(plan: Plan, count: int) -> list[npt.NDArray[np.uint8]]:
    """Arbitrary pictures of the plan's shape, the same every time."""
    top = np.uint8((1 << plan.image_bits) - 1)
    return [arbitrary(f"picture {number}", plan.image_shape) & top for number in range(count)]


def arbitrary(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Bytes that follow from a name."""
    stream = hashlib.shake_256(name.encode()).digest(prod(shape))
    return np.frombuffer(stream, np.uint8).reshape(shape).copy()


def write(folder: Path, plan: Plan, name: str) -> Path:
    """A model folder with an arbitrary network of `plan`."""
    card = ModelCard(
        name=name,
        version="1",
        data_set="none: arbitrary integers, for measuring",
        image_shape=plan.image_shape,
        class_names=tuple(str(each) for each in range(plan.output.out_features)),
        polarity="any",
        crop="none",
        seed=1,
        epochs=0,
        training_pictures=0,
        held_out_pictures=0,
        accuracy_float=0.0,
        accuracy_fixed=0.0,
        plan_hash=plan.hash.hex(),
        twinveil_version=VERSION,
    )
    save_model(folder, any_model(plan), card, replace=True)
    return folder
