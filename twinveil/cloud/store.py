"""A cloud's models on disk: each there whole or not at all, checksummed, by name and version.

ROOT/NAME@VERSION/record.json     who, which plan, which key; SHA-256 of the layout and of the arrays
ROOT/NAME@VERSION/arrays.safetensors
ROOT/.incoming-*                  not yet a model; swept at start
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from twinveil.errors import (
    AlreadyUsed,
    BadInput,
    HostFault,
    ModelExists,
    NotAllowed,
    TwinveilError,
    UnknownModel,
)
from twinveil.files import place_folder, private_folder, replace
from twinveil.network.card import is_model_place
from twinveil.network.plan import Plan
from twinveil.params import MIN_KEY_BITS, Params
from twinveil.protocol.model.layout import Layouts
from twinveil.rpc.types_pb2 import ModelEntry
from twinveil.values import read_json
from twinveil.wording import outsource_again

Arrays = Mapping[str, npt.NDArray[Any]]
Forms = Mapping[str, tuple[type[np.generic], tuple[int, ...]]]
"""Type and shape of every array by name."""

SETTLED_NS = 2 * 10**9
"""What changed more recently may change again without another time: clocks of file systems are coarse."""

log = logging.getLogger(__name__)

_INCOMING = ".incoming-"
_RECORD = "record.json"
_ARRAYS = "arrays.safetensors"
_TEXTS = ("model", "version", "import_id", "fingerprint", "owner", "layout_sha256", "arrays_sha256")


@dataclass(frozen=True, slots=True)
class Record:
    """What a cloud knows of a model beside its numbers.

    import_id: 16 bytes that both clouds got from the owner; a query names it, so halves of different imports
    of one name never meet. layouts: the plan, the engines, and where each value sits.
    fingerprint: hex, of the key that everything is encrypted under.
    owner: the name in the certificate of who outsourced it.
    """

    model: str
    version: str
    import_id: bytes
    layouts: Layouts
    label_only: bool
    fingerprint: str
    owner: str

    @property
    def plan(self) -> Plan:
        return self.layouts.plan

    @property
    def engines(self) -> tuple[str, ...]:
        return self.layouts.engines

    @property
    def folder(self) -> str:
        return f"{self.model}@{self.version}"

    def entry(self) -> ModelEntry:
        return ModelEntry(
            model=self.model,
            version=self.version,
            plan_hash=self.plan.hash,
            engines=self.engines,
            label_only=self.label_only,
        )

    def to_json(self, digest: str) -> str:
        return json.dumps(
            {
                "model": self.model,
                "version": self.version,
                "import_id": self.import_id.hex(),
                "plan": self.plan.to_dict(),
                "engines": self.engines,
                "label_only": self.label_only,
                "fingerprint": self.fingerprint,
                "owner": self.owner,
                "key_bits": self.layouts.params.key_bits,
                "layout_sha256": self.layouts.digest.hex(),
                "arrays_sha256": digest,
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> tuple[Record, str]:
        """The record and the digest of its arrays. Raises BadInput for anything else, also for another layout
        than this version gives the same plan: its ciphertexts would be read wrongly.
        """
        try:
            data: dict[str, Any] = read_json(text)
            engines, label_only, key_bits = data["engines"], data["label_only"], data["key_bits"]
            texts = (*(data[name] for name in _TEXTS), *engines)
            if not isinstance(label_only, bool) or not all(isinstance(each, str) for each in texts):
                raise TypeError
            if type(key_bits) is not int:
                raise TypeError
            plan = Plan.from_json(json.dumps(data["plan"]))
            params = Params(key_bits, insecure_small_key=key_bits < MIN_KEY_BITS)
            layouts = Layouts(plan, params, tuple(engines))
            import_id = bytes.fromhex(data["import_id"])
            digest = layouts.digest.hex()
        except (ValueError, KeyError, TypeError, RecursionError, TwinveilError):
            raise BadInput("an earlier version of Twinveil wrote its record, or it is damaged") from None
        if digest != data["layout_sha256"]:
            raise BadInput("another version of Twinveil laid this model out in another way")
        record = cls(
            data["model"],
            data["version"],
            import_id,
            layouts,
            label_only,
            data["fingerprint"],
            data["owner"],
        )
        return record, data["arrays_sha256"]


class Staged:
    """A model on its way in: `commit` makes it a model, leaving the `with` without that removes it."""

    def __init__(self, store: ModelStore, folder: Path, record: Record) -> None:
        self._store = store
        self._folder = folder
        self._record = record

    def commit(self) -> None:
        self._store.settle(self._folder, self._record)

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, *_: object) -> None:
        _discard(self._folder)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A record as it was read, or why it cannot be used, for as long as its file has this stamp."""

    stamp: tuple[int, ...]
    read: tuple[Record, str] | str


class ModelStore:
    """Models below one folder; safe for threads of one process.

    Records count as they are on disk. What is kept of them in memory saves parsing one again, and laying its
    plan out, while its file is the same: every status and every conversation asks for all of them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        self._imports: dict[bytes, str] = {}
        private_folder(root)
        for leftover in root.glob(f"{_INCOMING}*"):
            _discard(leftover)
        self.records()  # now, and not while somebody waits

    def records(self) -> Sequence[Record]:
        """Every model that can be used, by name and version."""
        return [each for each in self._all() if isinstance(each, Record)]

    def entries(self) -> Sequence[ModelEntry]:
        """Every model, by name and version; one that cannot be used says why."""
        return [each.entry() if isinstance(each, Record) else each for each in self._all()]

    def _all(self) -> Iterator[Record | ModelEntry]:
        for folder in sorted(self._root.glob("*@*")):
            try:
                yield self._read(folder)[0]
            except (BadInput, HostFault) as error:
                if not is_model_place(folder) or not folder.is_dir():
                    continue
                model, _, version = folder.name.partition("@")
                yield ModelEntry(model=model, version=version, trouble=str(error))

    def find(self, model: str, version: str) -> Record:
        """Raises UnknownModel, naming the models that are there."""
        return self._read(self._folder(model, version))[0]

    def of_import(self, import_id: bytes) -> Record | None:
        """The model that came by this import, if it can be used."""
        with suppress(KeyError, BadInput, HostFault):
            record, _ = self._read(self._root / self._imports[import_id])
            if record.import_id == import_id:
                return record
        return next((record for record in self.records() if record.import_id == import_id), None)

    def arrays(self, record: Record, forms: Forms) -> Arrays:
        """The model's numbers. Raises BadInput if they are damaged, or not of these forms.

        Raises UnknownModel if this model was removed since its record was read, whatever has its name now.
        """
        digest = self._digest(record)
        folder = self._root / record.folder
        try:
            data = (folder / _ARRAYS).read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                raise ValueError
            arrays = load(data)
            wanted = {name: (np.dtype(kind), shape) for name, (kind, shape) in forms.items()}
            if {name: (each.dtype, each.shape) for name, each in arrays.items()} != wanted:
                raise ValueError
            return arrays
        except (OSError, ValueError, SafetensorError) as error:
            self._digest(record)  # or they are another model's by now
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                raise _unread(folder, error) from None
            raise _refused(folder, "its numbers are damaged") from None

    def _digest(self, record: Record) -> str:
        """Of the arrays of this very import."""
        now, digest = self._read(self._folder(record.model, record.version))
        if now.import_id != record.import_id:
            raise UnknownModel(f"model {record.model} {record.version} was replaced meanwhile: ask again")
        return digest

    def stage(self, record: Record, arrays: Arrays) -> Staged:
        """Write everything to disk, beside the models; nothing of it stays there if that fails."""
        self.refuse_existing(record.model, record.version)
        folder = self._root / f"{_INCOMING}{secrets.token_hex(8)}"
        data = save(dict(arrays))
        try:
            private_folder(folder)
            replace(folder / _ARRAYS, data)
            replace(folder / _RECORD, record.to_json(hashlib.sha256(data).hexdigest()).encode())
        except BaseException:
            _discard(folder)
            raise
        return Staged(self, folder, record)

    def refuse_existing(self, model: str, version: str) -> None:
        if (self._root / f"{model}@{version}").exists():
            raise ModelExists(
                f"model {model} {version} is already there: give another --version, or --again to replace it"
            )

    def refuse_known(self, import_id: bytes) -> None:
        """An import id names one import as long as its model is here, also after a restart."""
        if self.of_import(import_id) is not None:
            raise AlreadyUsed("the id of this model was used before: make a new one")

    def settle(self, folder: Path, record: Record) -> None:
        with self._lock:
            self.refuse_existing(record.model, record.version)
            place_folder(folder, self._root / record.folder)

    def remove(self, model: str, version: str, owner: str) -> Record | None:
        """Take this owner's model away, also one that cannot be used any more, which has no record to return.

        Raises UnknownModel, NotAllowed for another owner's, or BadInput if nobody can tell whose it is now.
        """
        doomed = self._root / f"{_INCOMING}{secrets.token_hex(8)}"
        with self._lock:
            folder = self._folder(model, version)
            theirs = _owner(folder)
            if theirs not in (None, owner):
                raise NotAllowed(f"model {model} {version} belongs to owner/{theirs}: nobody else removes it")
            removed = None
            with suppress(BadInput):
                removed = self._read(folder)[0]
            # Renamed first: a removal that is cut short leaves no half of a model.
            try:
                folder.rename(doomed)
            except OSError:  # a full disk may have no room for a name
                shutil.rmtree(folder)
            self._kept.pop(folder.name, None)
            if removed is not None:
                self._imports.pop(removed.import_id, None)
        _discard(doomed)
        return removed

    def _folder(self, model: str, version: str) -> Path:
        folder = self._root / f"{model}@{version}"
        if not folder.is_dir():
            there = ", ".join(f"{r.model} {r.version}" for r in self.records()) or "none"
            raise UnknownModel(f"there is no model {model} {version} here (models: {there})")
        return folder

    def _read(self, folder: Path) -> tuple[Record, str]:
        file = folder / _RECORD
        try:
            # Before it is read: what changes meanwhile has another stamp the next time.
            stat = file.stat()
            stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            kept = self._kept.get(folder.name)
            if kept is None or kept.stamp != stamp:
                kept = _Kept(stamp, _parsed(file.read_bytes(), folder.name))
                if time.time_ns() - stat.st_ctime_ns > SETTLED_NS:
                    self._kept[folder.name] = kept
        except FileNotFoundError:
            raise _refused(folder, "its record is missing") from None
        except OSError as error:
            raise _unread(folder, error) from None
        if isinstance(kept.read, str):
            raise _refused(folder, kept.read)
        self._imports[kept.read[0].import_id] = folder.name
        return kept.read


def _parsed(data: bytes, folder: str) -> tuple[Record, str] | str:
    """The record of the model in this folder, and the digest of its arrays; or what is wrong with it."""
    try:
        record, digest = Record.from_json(data)
    except BadInput as error:
        return str(error)
    return (record, digest) if record.folder == folder else "the record lies in another model's folder"


def _owner(folder: Path) -> str | None:
    """Whose model it is, of whatever version; None where the record says nothing any more."""
    try:
        owner = read_json((folder / _RECORD).read_bytes())["owner"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unread(folder, error) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return owner if isinstance(owner, str) else None


def _refused(folder: Path, why: str) -> BadInput:
    return BadInput(f"the stored model {folder.name} cannot be used, {why}: {outsource_again(folder.name)}")


def _unread(folder: Path, error: OSError) -> HostFault:
    """What may be read another time."""
    return HostFault(f"the stored model {folder.name} cannot be read now: {error.strerror}")


def _discard(folder: Path) -> None:
    """What is no model, or no model any more. What stays of it takes room until the next start."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.error("%s cannot be deleted: %s", folder, error.strerror)
