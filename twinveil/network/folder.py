"""A model's folder: written whole or not at all, read without torch and without pickle.

plan.json               the plan, canonical JSON
card.json               the model card
quantised.safetensors   "<layer>.weight" int16, "<layer>.bias" int32: what is outsourced
model.safetensors       the real weights, for torch only
mask.png                the mask under which the model knows pictures, if its card names one
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as format_tensors

from twinveil.errors import BadInput, BadPlan, ModelExists, TwinveilError
from twinveil.files import private_folder, replacing_folder
from twinveil.files import replace as replace_file
from twinveil.network.card import ModelCard, is_model_place
from twinveil.network.plan import Plan, QuantisedModel

PLAN, CARD, QUANTISED, FLOAT = "plan.json", "card.json", "quantised.safetensors", "model.safetensors"
MASK = "mask.png"

MAX_FILE_BYTES = 1 << 28
"""No file of a model that the plan's limits allow is near this size."""

FloatTensors = Mapping[str, npt.NDArray[np.float32]]


class CardMask(Protocol):
    """A mask (twinveil.pictures.masks), as far as a model's folder knows it."""

    @property
    def digest(self) -> str: ...

    def to_png(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model as its folder holds it; card and plan belong together."""

    model: QuantisedModel
    card: ModelCard


def save_model(
    folder: str | Path,
    model: QuantisedModel,
    card: ModelCard,
    float_tensors: FloatTensors | None = None,
    *,
    replace: bool = False,
    mask: CardMask | None = None,
) -> None:
    """Write a model's folder at once: a reader, or a crash at any moment, finds all of it or nothing.

    mask: the one that the card names, if it names one. Raises BadInput for any other, and ModelExists and
    BadInput like `check_folder`.
    """
    folder = _real(Path(folder))
    card.check_plan(model.plan)
    if (None if mask is None else mask.digest) != card.mask:
        raise BadInput(f"the mask is not the one that the card of model {card.name} names")
    files = {
        PLAN: model.plan.to_json().encode(),
        CARD: card.to_json().encode(),
        QUANTISED: format_tensors(_integers(model)),
    }
    if float_tensors is not None:
        files[FLOAT] = format_tensors({name: np.ascontiguousarray(t) for name, t in float_tensors.items()})
    if mask is not None:
        files[MASK] = mask.to_png()
    check_folder(folder, replace=replace)
    try:
        with replacing_folder(folder) as part:
            for name, content in files.items():
                replace_file(part / name, content)
    except OSError as error:
        raise BadInput(f"{folder} cannot be written: {error.strerror or error}") from error


def check_folder(folder: Path, *, replace: bool) -> None:
    """Before training, not after: what would keep a model's folder from being written.

    Raises ModelExists if it is there, unless it holds a model and `replace` is set; BadInput if no folder
    can be made there.
    """
    folder = _real(folder)
    if folder.exists() and not replace:
        raise ModelExists(f"{folder} is already there: give another --version or --replace")
    if folder.exists() and not (folder / PLAN).is_file():
        raise ModelExists(f"{folder} is already there and holds no model: name another folder")
    try:
        private_folder(folder.parent)
        with tempfile.TemporaryDirectory(dir=folder.parent):
            pass
    except OSError as error:
        raise BadInput(f"{folder} cannot be written: {error.strerror or error}") from error


def _real(folder: Path) -> Path:
    """Where a link leads, so that a model takes the place of another and not of the link to it."""
    try:
        return folder.resolve()
    except (OSError, RuntimeError) as error:  # until Python 3.13, links in a circle are a RuntimeError
        raise BadInput(f"{folder} cannot be written: it is a link that leads nowhere") from error


def find_model(model: str, state: Path) -> Path:
    """The folder that a person means by a path, NAME or NAME@VERSION; of several versions the newest."""
    if (Path(model) / PLAN).is_file() or "/" in model:
        return Path(model)
    trained = state / "models"
    there = sorted(filter(_is_trained, trained.glob("*@*")), key=_order)
    found = [path for path in there if model in (path.name, path.name.partition("@")[0])]
    if found:
        return found[-1]
    names = ", ".join(path.name for path in there) or "none"
    raise BadInput(f"{model} is neither a model's folder nor a trained model (in {trained}: {names})")


def _is_trained(folder: Path) -> bool:
    return (folder / PLAN).is_file() and not folder.name.startswith(".") and is_model_place(folder)


def _order(folder: Path) -> tuple[str, tuple[int, ...]]:
    name, _, version = folder.name.partition("@")
    return name, version_order(version)


def version_order(version: str) -> tuple[int, ...]:
    """1.10 is newer than 1.9."""
    return tuple(int(part) for part in version.split("."))


def load_model(folder: str | Path) -> StoredModel:
    """The integers and the card. Raises BadInput for a folder or file that is missing, damaged or foreign."""
    path = Path(folder) / QUANTISED
    with _unreplaced(path.parent):
        plan, card = load_plan(folder), load_card(folder)
        tensors = _tensors(path)
    kinds = {"weight": np.int16, "bias": np.int32}
    expected = {f"{node.name}.{kind}" for node in plan.linear_nodes for kind in kinds}
    if set(tensors) != expected or any(t.dtype != kinds[n.rsplit(".")[-1]] for n, t in tensors.items()):
        raise BadInput(f"{path} does not hold the integers of its plan")
    try:
        model = QuantisedModel(
            plan,
            {node.name: tensors[f"{node.name}.weight"].astype(np.int64) for node in plan.linear_nodes},
            {node.name: tensors[f"{node.name}.bias"].astype(np.int64) for node in plan.linear_nodes},
        )
        card.check_plan(plan)
    except TwinveilError as error:
        raise BadInput(f"{folder}: {error}") from error
    return StoredModel(model, card)


def load_plan(folder: str | Path) -> Plan:
    """Raises BadInput (BadPlan) if the folder's plan is missing or no plan."""
    path = Path(folder) / PLAN
    try:
        return Plan.from_json(read_file(path))
    except BadPlan as error:
        raise BadPlan(f"{path}: {error}") from error


def load_card(folder: str | Path) -> ModelCard:
    """Raises BadInput if the folder's card is missing or no card."""
    path = Path(folder) / CARD
    content = read_file(path)
    try:
        return ModelCard.from_json(content)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def load_float_tensors(folder: str | Path) -> dict[str, npt.NDArray[np.float32]]:
    """The real weights by their names in the torch network. Raises BadInput."""
    path = Path(folder) / FLOAT
    tensors = {name: tensor for name, tensor in _tensors(path).items() if tensor.dtype == np.float32}
    if not tensors or not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise BadInput(f"{path} does not hold real weights")
    return tensors


@contextmanager
def _unreplaced(folder: Path) -> Iterator[None]:
    """Raises BadInput if another model took the folder's place meanwhile, which may have the same plan."""
    before = _identity(folder)
    yield
    if _identity(folder) != before:
        raise BadInput(f"{folder} was replaced while it was read: try again")


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _integers(model: QuantisedModel) -> dict[str, npt.NDArray[np.integer]]:
    tensors: dict[str, npt.NDArray[np.integer]] = {}
    for node in model.plan.linear_nodes:
        tensors[f"{node.name}.weight"] = np.ascontiguousarray(model.weights[node.name], dtype=np.int16)
        tensors[f"{node.name}.bias"] = np.ascontiguousarray(model.biases[node.name], dtype=np.int32)
    return tensors


def _tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        return parse_tensors(read_file(path))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise BadInput(f"{path} is damaged or no safetensors file") from error


def read_file(path: Path) -> bytes:
    """A file of a model's folder. Raises BadInput if it is missing, unreadable or larger than any model."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadInput(f"{path} is larger than any model")
        return path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"{path.parent} holds no model: {path.name} is missing") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
