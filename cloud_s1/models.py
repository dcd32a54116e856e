"""S1's models: shares and ciphertexts on disk, and in memory while they are used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.cloud.loaded import Loaded
from twinveil.cloud.store import Arrays, Forms, ModelStore, Record, Staged
from twinveil.crypto.public_key import PublicKey
from twinveil.errors import PeerMismatch
from twinveil.halves.blinding import Blinding
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.textbook.model.s1 import ModelS1

MAX_LOADED = 4


class ModelsS1:
    """Models by name and version."""

    def __init__(self, root: Path) -> None:
        self.store = ModelStore(root)
        self.loaded: Loaded[ModelS1] = Loaded(MAX_LOADED)

    def stage(self, record: Record, model: ModelS1, key: PublicKey) -> Staged:
        """On disk, but not there yet: S2 commits first."""
        return self.store.stage(record, to_arrays(model, key))

    def load(self, record: Record, key: PublicKey) -> ModelS1:
        """Raises PeerMismatch if it is encrypted under another key, BadInput if its numbers are damaged."""
        if record.fingerprint != key.fingerprint:
            raise PeerMismatch(
                f"the stored model {record.model} {record.version} is encrypted under another key than "
                "cloud_s2's: remove and outsource it again"
            )
        return self.loaded.get(record.import_id, lambda: self._from_disk(record, key))

    def _from_disk(self, record: Record, key: PublicKey) -> ModelS1:
        # A layout of its own: the record stays, and keeps no layout's slots in memory.
        arrays = self.store.arrays(record, forms(replace(record.layout), key))
        return from_arrays(record.layout, arrays, key)


def to_arrays(model: ModelS1, key: PublicKey) -> Arrays:
    """share/LAYER: K1; kernel/ENGINE/LAYER and bias/ENGINE/LAYER: ciphertexts (count, bytes), big endian."""
    arrays: dict[str, npt.NDArray[Any]] = {
        f"share/{name}": share.astype(np.uint32) for name, share in model.shares.items()
    }
    for what, kept in (("kernel", model.kernels), ("bias", model.biases)):
        for (engine, name), ciphertexts in kept.items():
            data = b"".join(int(c).to_bytes(key.ciphertext_bytes, "big") for c in ciphertexts)
            rows = np.frombuffer(data, np.uint8).reshape(-1, key.ciphertext_bytes)
            arrays[f"{what}/{engine}/{name}"] = rows
    return arrays


def forms(layout: ImportLayout, key: PublicKey) -> Forms:
    """What to_arrays gives for a model of this layout."""
    found: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {}
    for node in layout.plan.linear_nodes:
        found[f"share/{node.name}"] = (np.uint32, layout.plan.weight_shape(node))
        for placement in layout.placements(node):
            what = "kernel" if placement.segment.blinding is Blinding.MULTIPLICATIVE else "bias"
            rows = (len(placement.slots), key.ciphertext_bytes)
            found[f"{what}/{placement.engine}/{node.name}"] = (np.uint8, rows)
    return found


def from_arrays(layout: ImportLayout, arrays: Arrays, key: PublicKey) -> ModelS1:
    """Inverse of to_arrays; every ciphertext is checked again."""
    model = ModelS1(layout)
    for name, array in arrays.items():
        what, *rest = name.split("/")
        if what == "share":
            model.shares[rest[0]] = array.astype(np.uint64)
            continue
        ciphertexts: list[mpz] = key.parse(array.tobytes(), len(array))
        kept = model.kernels if what == "kernel" else model.biases
        kept[rest[0], rest[1]] = ciphertexts
    return model
