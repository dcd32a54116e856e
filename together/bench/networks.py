"""Networks to measure: the default ICNN for any picture size, with arbitrary integers.

Cost depends on the plan alone, so that nothing has to be trained. The owner's network is looked up when it
is asked for: the library imports no role.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinveil.errors import BadConfiguration
from twinveil.network.card import ModelCard
from twinveil.network.folder import save_model
from twinveil.network.plan import Plan, QuantisedModel
from twinveil.start.extras import needs
from twinveil.version import VERSION

DEFAULT_SIDE = 28
CLASSES = 10
LARGEST_WEIGHT = 3
"""Small enough that no sum leaves its accumulator on any layer of the default network."""


def default_plan(side: int = DEFAULT_SIDE, channels: int = 1, small: bool = False) -> Plan:
    """The default network's plan; `small`: hardly any channels, for a quick look. BadConfiguration
    without the owner's extra."""
    shape = (channels, side, side)
    network = _owner("icnn").ICNN(shape, CLASSES, _owner("icnn").TINY if small else None)
    plan: Plan = _owner("tracing").trace(network, shape).plan
    return plan


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


def _owner(module: str) -> Any:
    try:
        return import_module(f"owner.{module}")
    except ImportError as error:
        what = needs("the default network is the owner's, which", error.name or str(error))
        raise BadConfiguration(f"{what}, or give the folder of a trained model") from None
