"""A study: pictures, a set of masks, and three kinds of models, each trained once for every run.

    FOLDER/study.json                          what is studied; enough to recognise without its pictures
    FOLDER/masks/NAME.png                      the set of masks
    FOLDER/models/KIND-SEED-HASH.safetensors   weights, by the hash of everything that they follow from

A training that is on disk is not made again: an interrupted study goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from owner.masks.pictures import study_pictures
from owner.masks.recogniser import Recogniser, RecogniserSettings, train_recogniser
from owner.masks.repair import RepairSettings, train_repair
from owner.masks.repair_network import RepairNetwork
from owner.masks.statistics import MAX_RUNS
from owner.training.datasets import DataSet, load_data_set, located
from owner.training.threads import torch_threads
from twinveil.errors import BadInput
from twinveil.files import private_folder
from twinveil.files import replace as replace_file
from twinveil.network.card import Polarity
from twinveil.network.plan import Shape
from twinveil.pictures.files import Picture
from twinveil.pictures.masks import Mask, load_masks
from twinveil.values import decimal, read_json
from twinveil.wording import Telling

Kind = Literal["original", "masked", "repair"]
KINDS: tuple[Kind, ...] = ("original", "masked", "repair")

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class StudySettings:
    """What a study follows from, its masks aside.

    data: a data set's name or folder; test_each: its test pictures a class. repair_data: another data set to
    train the repair network on; empty: on the training pictures of `data`, distorted anew in every epoch.
    runs: trainings of each kind, with the seeds first_seed, first_seed + 1, ...
    """

    data: str = "orl"
    image_shape: Shape = (1, 32, 32)
    test_each: int = 3
    repair_data: str = ""
    runs: int = 5
    first_seed: int = 1
    recogniser: RecogniserSettings = field(default_factory=RecogniserSettings)
    repair: RepairSettings = field(default_factory=RepairSettings)

    def __post_init__(self) -> None:
        if not 1 <= self.runs <= MAX_RUNS:
            raise BadInput(f"runs must be 1 to {MAX_RUNS}, not {self.runs}")
        if not 0 <= self.first_seed < 1 << 62:
            raise BadInput("the seed must be a number from 0 to 2^62 - 1")
        if any(side % 4 or side < 8 for side in self.image_shape[1:]):
            raise BadInput(
                "pictures need sides of at least 8 that are multiples of 4 (repair halves them twice), "
                f"not {self.image_shape[1]} x {self.image_shape[2]}"
            )

    @property
    def seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.runs)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> StudySettings:
        plain = {
            **data,
            "image_shape": tuple(data["image_shape"]),
            "recogniser": RecogniserSettings(**data["recogniser"]),
            "repair": RepairSettings(**data["repair"]),
        }
        return cls(**plain)


@dataclass(frozen=True, slots=True)
class Pictures:
    """What outlives the pictures of a study. digest: of those that it trains on, with their labels."""

    class_names: tuple[str, ...]
    polarity: Polarity
    digest: str

    @classmethod
    def of(cls, data: DataSet) -> Pictures:
        return cls(
            data.class_names, data.polarity, _digest(data.train.tobytes(), data.train_labels.tobytes())
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Pictures:
        """Raises ValueError for a polarity that there is not."""
        if data["polarity"] not in get_args(Polarity):
            raise ValueError("no polarity")
        return cls(tuple(map(str, data["class_names"])), data["polarity"], str(data["digest"]))


class Study:
    """Masks, models by run, and the pictures as soon as they are asked for."""

    def __init__(
        self, folder: Path, settings: StudySettings, masks: Sequence[Mask], pictures: Pictures
    ) -> None:
        self.folder, self.settings, self.masks, self.pictures = folder, settings, tuple(masks), pictures
        self._visible = torch.from_numpy(np.stack([mask.visible for mask in masks])[:, None]).float()
        self._masks_digest = _digest(*(bytes.fromhex(mask.digest) for mask in masks))

    @classmethod
    def begin(cls, folder: Path, settings: StudySettings, masks: Sequence[Mask]) -> Study:
        """A study that is to be trained, or trained on; says in the folder what is studied.

        Raises BadInput if the folder holds another study; more runs of the same one are welcome.
        """
        elsewhere = replace(settings, data=located(settings.data), repair_data=located(settings.repair_data))
        data = _load_pictures(elsewhere)
        for mask in masks:
            mask.cover(data.held_out[:1])  # of another size: said before anything is trained
        study = cls(folder, elsewhere, masks, Pictures.of(data))
        study.data = data
        study._write()
        return study

    @classmethod
    def load(cls, folder: Path) -> Study:
        """The study that `mask train` has left in a folder. Raises BadInput."""
        settings, digests, pictures = _read(folder)
        masks = load_masks(folder / "masks", settings.image_shape[1:])
        if sorted(mask.digest for mask in masks) != sorted(digests.values()):
            raise BadInput(f"{folder}/masks is not the set of masks that was studied")
        return cls(folder, settings, masks, pictures)

    @cached_property
    def data(self) -> DataSet:
        """Training and test pictures. Raises BadInput if they are not those that were studied."""
        data = _load_pictures(self.settings)
        if Pictures.of(data) != self.pictures:
            raise BadInput(
                f"{self.settings.data} has other pictures than {self.folder} was made of: "
                "run twinveil mask train"
            )
        return data

    def missing(self) -> list[tuple[Kind, int]]:
        """Trainings that are still to be made."""
        return [(kind, seed) for seed in self.settings.seeds for kind in KINDS if not self._has(kind, seed)]

    def train(self, report: Telling = lambda done, of, label: None) -> None:
        """Make every training that is missing; each is on disk when the next begins."""
        todo = self.missing()
        with torch_threads():
            for number, (kind, seed) in enumerate(todo):

                def epoch(done: int, epochs: int, loss: float, number: int = number) -> None:
                    kind, seed = todo[number]
                    label = f"{kind} model, seed {seed}: epoch {done} of {epochs}, loss {loss:.3f}"
                    report(number * 1000 + done * 1000 // epochs, len(todo) * 1000, label)

                self._train(kind, seed, epoch)

    def recogniser(self, kind: Literal["original", "masked"], seed: int) -> Recogniser:
        """A trained recogniser. Raises BadInput if it has not been trained."""
        classes = len(self.pictures.class_names)
        network = Recogniser(self.settings.image_shape[0], classes, self.settings.recogniser.width)
        self._load(network, kind, seed)
        return network

    def repairer(self, seed: int) -> RepairNetwork:
        """A trained repair network. Raises BadInput if it has not been trained."""
        settings = self.settings.repair
        network = RepairNetwork(self.settings.image_shape[0], settings.width, settings.recurrences)
        self._load(network, "repair", seed)
        return network

    def seconds(self) -> dict[str, float]:
        """What each training took, by KIND-SEED, in seconds of the processor."""
        found = {}
        for seed in self.settings.seeds:
            for kind in KINDS:
                if self._has(kind, seed):
                    found[f"{kind}-{seed}"] = _seconds(self._path(kind, seed))
        return found

    def _train(self, kind: Kind, seed: int, epoch: Callable[[int, int, float], None]) -> None:
        started = time.process_time()
        network: nn.Module
        if kind == "repair":
            network = train_repair(self._repair_pictures, self.settings.repair, seed, self._visible, epoch)
        else:
            network = train_recogniser(
                self.data.train,
                self.data.train_labels,
                len(self.data.class_names),
                self.settings.recogniser,
                seed,
                self._visible if kind == "masked" else None,
                epoch,
            )
        seconds = {"seconds": f"{time.process_time() - started:.1f}"}
        path = self._path(kind, seed)
        private_folder(path.parent)
        tensors: dict[str, Tensor] = {name: each.contiguous() for name, each in network.state_dict().items()}
        replace_file(path, save(tensors, seconds))

    def _load(self, network: nn.Module, kind: Kind, seed: int) -> None:
        path = self._path(kind, seed)
        if not path.is_file():
            raise BadInput(f"{self.folder} lacks the {kind} model of seed {seed}: run twinveil mask train")
        try:
            with safe_open(path, "pt") as file:
                network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (SafetensorError, RuntimeError, KeyError, OSError) as error:
            raise BadInput(f"{path} is damaged: remove it and train again") from error
        network.eval()

    def _has(self, kind: Kind, seed: int) -> bool:
        return self._path(kind, seed).is_file()

    def _path(self, kind: Kind, seed: int) -> Path:
        origin: dict[str, Any] = {
            "kind": kind,
            "seed": seed,
            "format": _FORMAT,
            "classes": len(self.pictures.class_names),
            "pictures": self.pictures.digest,
        }
        if kind == "repair":
            origin |= asdict(self.settings.repair) | {"pictures": _digest(self._repair_pictures.tobytes())}
        else:
            origin |= asdict(self.settings.recogniser)
        if kind != "original":
            origin["masks"] = self._masks_digest
        name = _digest(json.dumps(origin, sort_keys=True).encode())[:12]
        return self.folder / "models" / f"{kind}-{seed}-{name}.safetensors"

    @cached_property
    def _repair_pictures(self) -> Picture:
        if not self.settings.repair_data:
            return self.data.train
        other = load_data_set(self.settings.repair_data, self.settings.image_shape)
        return np.concatenate([other.train, other.held_out])

    def _write(self) -> None:
        digests = {mask.name: mask.digest for mask in self.masks}
        if (self.folder / "study.json").is_file():
            settings, there, _ = _read(self.folder)
            before, now = asdict(settings), asdict(self.settings)
            other = sorted(name for name in now if name != "runs" and now[name] != before[name])
            if there != digests:
                other.append("masks")
            if other:
                raise BadInput(
                    f"{self.folder} holds a study with other {', '.join(other)}: choose another --folder"
                )
        try:
            private_folder(self.folder / "masks")
            for mask in self.masks:
                replace_file(self.folder / "masks" / f"{mask.name}.png", mask.to_png())
            content = {
                "settings": asdict(self.settings),
                "masks": digests,
                "pictures": asdict(self.pictures),
            }
            replace_file(self.folder / "study.json", (json.dumps(content, indent=1) + "\n").encode())
        except OSError as error:
            raise BadInput(f"{self.folder} cannot be written: {error.strerror or error}") from None


def _load_pictures(settings: StudySettings) -> DataSet:
    return study_pictures(settings.data, settings.image_shape, settings.test_each)


def _read(folder: Path) -> tuple[StudySettings, dict[str, str], Pictures]:
    try:
        data = read_json((folder / "study.json").read_text(encoding="utf-8"))
        settings = StudySettings.from_dict(data["settings"])
        return settings, dict(data["masks"]), Pictures.from_dict(data["pictures"])
    except FileNotFoundError:
        raise BadInput(f"{folder} holds no study of masks: run twinveil mask train") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(
            f"{folder}/study.json cannot be read ({type(error).__name__}): remove it and run twinveil mask "
            "train again, which keeps what is trained"
        ) from None


def _seconds(path: Path) -> float:
    try:
        with safe_open(path, "numpy") as file:
            return decimal(file.metadata()["seconds"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"{path} is damaged: remove it and train again") from None


def _digest(*contents: bytes) -> str:
    made = hashlib.sha256()
    for content in contents:
        made.update(len(content).to_bytes(8, "big") + content)
    return made.hexdigest()
