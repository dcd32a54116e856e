"""S2's models: its shares on disk, and in memory while they are used."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twinveil.cloud.loaded import Loaded
from twinveil.cloud.store import Forms, ModelStore, Record
from twinveil.errors import UnknownModel
from twinveil.network.plan import Plan
from twinveil.protocol.textbook.model.s2 import ModelS2

MAX_LOADED = 8


class ModelsS2:
    """Models by name and version for owners and users, by import for conversations."""

    def __init__(self, root: Path) -> None:
        self.store = ModelStore(root)
        self.loaded: Loaded[ModelS2] = Loaded(MAX_LOADED)

    def keep(self, record: Record, model: ModelS2) -> None:
        """On disk, whole; only then is it there."""
        arrays = {name: share.astype(np.uint32) for name, share in model.shares.items()}
        with self.store.stage(record, arrays) as staged:
            staged.commit()

    def load(self, import_id: bytes) -> tuple[Record, ModelS2]:
        """Raises UnknownModel if no model came by this import."""
        record = self.store.of_import(import_id)
        if record is None:
            raise UnknownModel("cloud_s2 does not have the model that cloud_s1 means: outsource it again")
        return record, self.loaded.get(import_id, lambda: self._from_disk(record))

    def _from_disk(self, record: Record) -> ModelS2:
        arrays = self.store.arrays(record, forms(record.plan))
        shares = {name: share.astype(np.uint64) for name, share in arrays.items()}
        return ModelS2(record.layout, shares)


def forms(plan: Plan) -> Forms:
    """What is kept of a model: its shares by layer."""
    return {node.name: (np.uint32, plan.weight_shape(node)) for node in plan.linear_nodes}
