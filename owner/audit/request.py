"""From what the owner asks for to an audit: model, data, split, the protocol's views, the attacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from owner.audit.attack import AttackOptions
from owner.audit.features import LABEL, PICTURE, SCORES
from owner.audit.findings import AuditOptions, Inverted
from owner.audit.inverse import Architecture
from owner.audit.inversion import Inversion
from owner.audit.rehearsal import rehearse
from owner.audit.risk import Thresholds
from owner.audit.subjects import Split, SplitBy, split
from owner.audit.views import Recorded, RecordedArrays
from owner.training.datasets import DataSet, load_data_set
from owner.training.icnn import ICNN
from owner.training.train import TrainOptions, load_float_network, train_on
from twinveil.errors import BadInput
from twinveil.network.card import ModelCard, Polarity
from twinveil.network.folder import load_model
from twinveil.network.plan import Shape
from twinveil.params import Params
from twinveil.pictures.masks import Mask, load_model_mask
from twinveil.rehearsal.arrays import load_views
from twinveil.wording import Telling

_TRAINED_SIDE = {"orl": 32}
"""Side of the pictures where the model is trained for the audit alone, if not the data set's own."""

_QUICK_LAYERS = (PICTURE, "stem7", "pool", SCORES, LABEL)
_EPOCHS, _QUICK_EPOCHS = 16, 4
_PATIENCE, _QUICK_PATIENCE = 4, 2
_PICTURES, _QUICK_PICTURES = 1000, 240
_QUERIES = 96
_QUICK_TRAINING = 20_000
"""Pictures seen, over all epochs, by a model that is trained for a quick audit."""


@dataclass(frozen=True, slots=True)
class Source:
    """The model in words, and the data as the model wants it; classes: None where there is no model yet."""

    model: str
    data: str
    image_shape: Shape | None
    polarity: Polarity | None
    classes: tuple[str, ...] | None

    @classmethod
    def of(cls, card: ModelCard | None, data: str | None, quick: bool) -> Source:
        """Raises BadInput if the data the model was trained on cannot be found again by its name."""
        if card is None:
            name = data or "orl"
            side = _TRAINED_SIDE.get(name)
            model = f"an ICNN trained {'briefly ' if quick else ''}for this audit"
            return cls(model, name, (1, side, side) if side else None, None, None)
        named = data or card.data_set
        polarity = card.polarity if Path(named).is_dir() else None
        return cls(f"{card.name} {card.version}", named, card.image_shape, polarity, card.class_names)

    def load(self) -> DataSet:
        """Raises BadInput for an unusable data set, or one of other classes than the model's."""
        found = load_data_set(self.data, self.image_shape, self.polarity)
        if self.classes is not None and self.classes != found.class_names:
            raise BadInput(
                f"model {self.model} tells {len(self.classes)} classes apart "
                f"({self.classes[0]} .. {self.classes[-1]}), data set {found.name} has "
                f"{len(found.class_names)} ({found.class_names[0]} .. {found.class_names[-1]}): "
                "audit a model on the data that it recognises"
            )
        return found


@dataclass(frozen=True, slots=True)
class Request:
    """The options of the command; None: what --quick, or its absence, says."""

    folder: Path | None
    source: Source
    layers: tuple[str, ...] | None = None
    seed: int = 1
    quick: bool = False
    attackers: tuple[Architecture, ...] = ("plain",)
    epochs: int | None = None
    limit: int | None = None
    by: SplitBy | None = None
    queries: int | None = None
    views: Path | None = None
    key_bits: int = 512
    thresholds: Thresholds = field(default_factory=Thresholds)

    def options(self) -> AuditOptions:
        """Raises BadInput."""
        Params(self.key_bits, insecure_small_key=True)
        epochs, patience, layers = (
            (_QUICK_EPOCHS, _QUICK_PATIENCE, _QUICK_LAYERS) if self.quick else (_EPOCHS, _PATIENCE, None)
        )
        attack = AttackOptions(
            epochs=epochs if self.epochs is None else self.epochs, patience=patience, seed=self.seed
        )
        return AuditOptions(attack, self.attackers, self.thresholds, self.layers or layers)

    def split(self, data: DataSet) -> Split:
        """Raises BadInput."""
        limit = _QUICK_PICTURES if self.quick else _PICTURES
        return split(data, self.seed, self.by, limit if self.limit is None else self.limit)

    def record(self, parts: Split, mask: Mask | None) -> Recorded | None:
        """The pictures that go through the protocol; None: no queries. Raises BadInput."""
        queries = self.queries
        if queries is None:
            queries = 0 if self.quick else _QUERIES
        return Recorded.choose(parts, queries, self.seed, mask) if queries else None


@dataclass(frozen=True)
class Prepared:
    """Everything checked and ready; folder: of the model that the protocol runs."""

    request: Request
    split: Split
    inversion: Inversion
    folder: Path
    recorded: Recorded | None

    def record(self, step: Telling) -> RecordedArrays | None:
        """Both clouds' views of the chosen pictures, from the file if it is there, else from a rehearsal."""
        if self.recorded is None:
            return None
        kept = self.request.views
        if kept is not None and kept.exists():
            views: RecordedArrays = load_views(kept)
        else:
            pictures = self.recorded.pictures
            views = rehearse(
                self.folder,
                pictures,
                self.request.key_bits,
                lambda done, total: step(done, total, "queries through both clouds"),
                kept,
            )
        self.recorded.check(views, load_model(self.folder).model)
        return views

    def attack(self, seen: RecordedArrays | None, step: Telling) -> Inverted:
        return self.inversion.run(self.recorded, seen, step)


def prepare(request: Request, scratch: Path, step: Telling) -> Prepared:
    """Load or train the model, split the data. Raises BadInput for all that cannot be audited.

    What can be wrong with the options is found before any training.
    """
    options = request.options()
    step(0, 0, "loading the data set")
    data = request.source.load()
    parts = request.split(data)
    mask = None if request.folder is None else load_model_mask(request.folder)
    recorded = request.record(parts, mask)
    if request.folder is None:
        untrained = ICNN(data.image_shape, len(data.class_names), batch_norm=False)
        Inversion(untrained, parts, options)  # an unknown layer is named now, not after training
        folder = scratch / "model"
        _train(data, request, folder, step)
    else:
        folder = request.folder
    network = load_float_network(folder, data.image_shape)
    return Prepared(request, parts, Inversion(network, parts, options, mask), folder, recorded)


def _train(data: DataSet, request: Request, folder: Path, step: Telling) -> None:
    epochs = max(4, _QUICK_TRAINING // len(data.train)) if request.quick else None
    options = TrainOptions(data=request.source.data, seed=request.seed, epochs=epochs)
    trained = train_on(
        data,
        options,
        lambda at: step(at.epoch, at.epochs, f"training, {at.phase}, accuracy {at.accuracy:.1%}"),
    )
    trained.save(folder)
