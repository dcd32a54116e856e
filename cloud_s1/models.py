"""S1's models: shares and ciphertexts on disk, and in memory while they are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from twinveil.protocol.model.layout import Layouts
from twinveil.protocol.model.s1 import ModelS1
from twinveil.protocol.packed.model import s1 as packed
from twinveil.protocol.textbook.model import s1 as textbook
from twinveil.wording import outsource_again

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
                f"cloud_s2's: {outsource_again(record.folder)}"
            )
        return self.loaded.get(record.import_id, lambda: self._from_disk(record, key))

    def _from_disk(self, record: Record, key: PublicKey) -> ModelS1:
        # Layouts of its own: the record stays, and keeps no layout's slots in memory.
        layouts = replace(record.layouts)
        return from_arrays(layouts, self.store.arrays(record, forms(layouts, key)), key)


def to_arrays(model: ModelS1, key: PublicKey) -> Arrays:
    """packed/WHAT/LAYER: K1 and b1 as kernel and bias, E(K2); textbook/WHAT/LAYER: E(K), E(b).

    Ciphertexts are (count, bytes), big endian.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    if model.packed:
        for what, words in (("kernel", model.packed.kernels), ("bias", model.packed.biases)):
            arrays |= {f"packed/{what}/{name}": each.astype(np.uint32) for name, each in words.items()}
        arrays |= _rows("packed/encrypted", model.packed.encrypted, key)
    if model.textbook:
        arrays |= _rows("textbook/kernel", model.textbook.kernels, key)
        arrays |= _rows("textbook/bias", model.textbook.biases, key)
    return arrays


def forms(layouts: Layouts, key: PublicKey) -> Forms:
    """What to_arrays gives for a model of these layouts."""
    plan, width = layouts.plan, key.ciphertext_bytes
    found: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {}
    for node in plan.linear_nodes:
        name, weights, outputs = node.name, plan.weight_shape(node), plan.weight_shape(node)[0]
        if "packed" in layouts.engines:
            kernel = layouts.packed.item.layers[name].kernel
            found[f"packed/kernel/{name}"] = (np.uint32, weights)
            found[f"packed/bias/{name}"] = (np.uint32, (outputs,))
            found[f"packed/encrypted/{name}"] = (np.uint8, (kernel.chunks * kernel.bases, width))
        if "textbook" in layouts.engines:
            found[f"textbook/kernel/{name}"] = (np.uint8, (int(np.prod(weights)), width))
            found[f"textbook/bias/{name}"] = (np.uint8, (outputs, width))
    return found


def from_arrays(layouts: Layouts, arrays: Arrays, key: PublicKey) -> ModelS1:
    """Inverse of to_arrays; every ciphertext is checked again."""

    def words(what: str) -> dict[str, npt.NDArray[np.uint64]]:
        return {name: each.astype(np.uint64) for name, each in _named(arrays, what)}

    def ciphertexts(what: str) -> dict[str, list[mpz]]:
        return {name: key.parse(each.tobytes(), len(each)) for name, each in _named(arrays, what)}

    of_packed = of_textbook = None
    if "packed" in layouts.engines:
        of_packed = packed.ModelS1(
            layouts.packed, words("packed/kernel"), words("packed/bias"), ciphertexts("packed/encrypted")
        )
    if "textbook" in layouts.engines:
        of_textbook = textbook.ModelS1(
            layouts.textbook, ciphertexts("textbook/kernel"), ciphertexts("textbook/bias")
        )
    return ModelS1(of_packed, of_textbook)


def _rows(what: str, kept: Mapping[str, Sequence[mpz]], key: PublicKey) -> dict[str, npt.NDArray[np.uint8]]:
    width = key.ciphertext_bytes
    return {
        f"{what}/{name}": np.frombuffer(
            b"".join(int(each).to_bytes(width, "big") for each in ciphertexts), np.uint8
        ).reshape(-1, width)
        for name, ciphertexts in kept.items()
    }


def _named(arrays: Arrays, what: str) -> list[tuple[str, npt.NDArray[Any]]]:
    return [
        (name.removeprefix(f"{what}/"), each) for name, each in arrays.items() if name.startswith(f"{what}/")
    ]
