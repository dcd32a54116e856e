"""Networks to measure: the default ICNN for any picture size, with random integers.

Cost depends on the plan alone, so that nothing has to be trained. The owner's network is looked up when it
is asked for: the library imports no role.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinveil.card import ModelCard
from twinveil.errors import BadConfiguration
from twinveil.model_files import save_model
from twinveil.plan import Plan, QuantisedModel
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


def random_model(plan: Plan, seed: int = 1) -> QuantisedModel:
    """A network of that plan with random weights."""
    source = np.random.default_rng(seed)
    weights, biases = {}, {}
    for node in plan.linear_nodes:
        shape = plan.weight_shape(node)
        weights[node.name] = source.integers(-LARGEST_WEIGHT, LARGEST_WEIGHT + 1, shape)
        biases[node.name] = source.integers(-9, 10, shape[0])
    return QuantisedModel(plan, weights, biases)


def random_pictures(plan: Plan, count: int, seed: int = 2) -> list[npt.NDArray[np.uint8]]:
    source = np.random.default_rng(seed)
    return [
        source.integers(0, 1 << plan.image_bits, plan.image_shape, dtype=np.int64).astype(np.uint8)
        for _ in range(count)
    ]


def write(folder: Path, plan: Plan, name: str) -> Path:
    """A model folder with a random network of `plan`."""
    card = ModelCard(
        name=name,
        version="1",
        data_set="none: random integers, for measuring",
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
    save_model(folder, random_model(plan), card, replace=True)
    return folder


def _owner(module: str) -> Any:
    try:
        return import_module(f"owner.{module}")
    except ImportError as error:
        raise BadConfiguration(
            f"the default network is the owner's, which needs {error.name or error}: "
            "pip install 'twinveil[owner]', or give the folder of a trained model"
        ) from None
