"""S2's models: its shares on disk, and in memory while they are used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from twinveil.cloud.loaded import Loaded
from twinveil.cloud.store import Arrays, Forms, ModelStore, Record
from twinveil.errors import UnknownModel
from twinveil.protocol.model.layout import Layouts
from twinveil.protocol.model.s2 import ModelS2
from twinveil.protocol.packed.model import s2 as packed

MAX_LOADED = 8


class ModelsS2:
    """Models by name and version for owners and users, by import for conversations."""

    def __init__(self, root: Path) -> None:
        self.store = ModelStore(root)
        self.loaded: Loaded[ModelS2] = Loaded(MAX_LOADED)

    def keep(self, record: Record, model: ModelS2) -> None:
        """On disk, whole; only then is it there."""
        with self.store.stage(record, to_arrays(model)) as staged:
            staged.commit()

    def load(self, import_id: bytes) -> tuple[Record, ModelS2]:
        """Raises UnknownModel if no model came by this import."""
        record = self.store.of_import(import_id)
        if record is None:
            raise UnknownModel("cloud_s2 does not have the model that cloud_s1 means: outsource it again")
        return record, self.loaded.get(import_id, lambda: self._from_disk(record))

    def _from_disk(self, record: Record) -> ModelS2:
        layouts = replace(record.layouts)
        return from_arrays(layouts, self.store.arrays(record, forms(layouts)))


def to_arrays(model: ModelS2) -> Arrays:
    """packed/WHAT/LAYER: K2 and b2 as kernel and bias."""
    if model.packed is None:
        return {}
    kinds = (("kernel", model.packed.kernels), ("bias", model.packed.biases))
    return {
        f"packed/{what}/{name}": words.astype(np.uint32)
        for what, kept in kinds
        for name, words in kept.items()
    }


def forms(layouts: Layouts) -> Forms:
    """What to_arrays gives for a model of these layouts."""
    if "packed" not in layouts.engines:
        return {}
    shapes = {node.name: layouts.plan.weight_shape(node) for node in layouts.plan.linear_nodes}
    kernels = {f"packed/kernel/{name}": (np.uint32, shape) for name, shape in shapes.items()}
    return kernels | {f"packed/bias/{name}": (np.uint32, shape[:1]) for name, shape in shapes.items()}


def from_arrays(layouts: Layouts, arrays: Arrays) -> ModelS2:
    """Inverse of to_arrays."""
    if "packed" not in layouts.engines:
        return ModelS2(layouts)
    nodes = layouts.plan.linear_nodes
    kernels, biases = (
        {node.name: arrays[f"packed/{what}/{node.name}"].astype(np.uint64) for node in nodes}
        for what in ("kernel", "bias")
    )
    return ModelS2(layouts, packed.ModelS2(layouts.packed, kernels, biases))
