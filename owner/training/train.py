"""Training: a data set becomes a model folder.

    float      ICNN with batch normalisation, distorted pictures, AdamW and one cycle of the learning rate;
               with a mask, every picture is covered after it has been distorted
    fold       batch normalisation into the convolutions, weights projected into their widths
    fixed      the same network in integer arithmetic, gradients straight through; projected after every step
    compile    the trained weights traced, quantised and proven like any other network's, then measured

Equal seeds give equal weights on one machine with an equal number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from owner.training.augmentation import Distortions, distort
from owner.training.compile import compile_network, fold
from owner.training.datasets import DataSet, load_data_set
from owner.training.descent import descend
from owner.training.icnn import ICNN, Widths
from owner.training.quantise import FixedPointTwin, RealLayer
from owner.training.threads import torch_threads
from owner.training.tracing import trace
from twinveil.errors import BadInput
from twinveil.network import oracle
from twinveil.network.card import MAX_TEXT, ModelCard, Polarity, check_class_names, check_name
from twinveil.network.fixed_point import PIXEL_FRACTION_BITS, Precision
from twinveil.network.folder import FloatTensors, load_float_tensors, save_model
from twinveil.network.plan import Plan, QuantisedModel, Shape
from twinveil.pictures.files import CROP
from twinveil.pictures.masks import Mask
from twinveil.version import VERSION
from twinveil.wording import visible

Phase = Literal["float", "fixed"]

_PICTURES_SEEN = 200_000
"""Of 28 x 28 pixels, over all epochs: 50 of 4,000 digits, some 80 seconds of one core."""

_FIXED_SHARE = 0.25
"""Share of the epochs that train in fixed point."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What to train on and how. Raises BadInput for values that cannot be.

    data: a data set's name or a folder (datasets.py). name, version: of the model; by default the data
    set's name and 1. image_shape, polarity: see load_data_set. epochs: by default as many as see some 200,000
    pictures of 28 x 28. threads: of torch; the layers are too small to gain from a second one, and on a busy
    machine threads that wait for each other cost tenfold. mask: of the pictures' size; the network then knows
    covered pictures only, and its accuracies are those on covered held-out pictures.
    """

    data: str = "mnist"
    name: str | None = None
    version: str = "1"
    image_shape: Shape | None = None
    polarity: Polarity | None = None
    epochs: int | None = None
    seed: int = 1
    batch: int = 64
    learning_rate: float = 4e-3
    widths: Widths = field(default_factory=Widths)
    distortions: Distortions = field(default_factory=Distortions)
    precision: Precision = field(default_factory=Precision)
    threads: int = 1
    mask: Mask | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and not 1 <= self.epochs <= 10_000:
            raise BadInput(f"epochs must be 1 to 10000, not {self.epochs}")
        if not 0 <= self.seed < 1 << 63:
            raise BadInput("the seed must be a number from 0 to 2^63 - 1")
        if not 2 <= self.batch <= 4096:
            raise BadInput(f"the batch must be 2 to 4096 pictures, not {self.batch}")
        if not 0 < self.learning_rate <= 1:
            raise BadInput(f"the learning rate must be above 0 and at most 1, not {self.learning_rate}")
        if not 1 <= self.threads <= 256:
            raise BadInput(f"threads must be 1 to 256, not {self.threads}")


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """After every epoch: which of how many, in which phase, the mean loss and the accuracy while training."""

    epoch: int
    epochs: int
    phase: Phase
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Trained:
    """What training gives: proven integers, the real weights they come from, and what is known of both."""

    model: QuantisedModel
    card: ModelCard
    float_tensors: FloatTensors
    mask: Mask | None = None

    def save(self, folder: str | Path, *, replace: bool = False) -> None:
        """Write the model's folder, whole or not at all. Raises ModelExists, BadInput."""
        save_model(folder, self.model, self.card, self.float_tensors, replace=replace, mask=self.mask)


def train(options: TrainOptions, on_progress: Callable[[TrainProgress], None] | None = None) -> Trained:
    """Train, compile and measure an ICNN. Raises BadInput for an unusable data set or option."""
    return train_on(load_data_set(options.data, options.image_shape, options.polarity), options, on_progress)


def network_plan(data: DataSet, options: TrainOptions) -> Plan:
    """The plan of the network that training on this data gives; it needs no training to be known."""
    network = ICNN(data.image_shape, len(data.class_names), options.widths)
    return trace(network, data.image_shape, options.precision).plan


def train_on(
    data: DataSet, options: TrainOptions, on_progress: Callable[[TrainProgress], None] | None = None
) -> Trained:
    """Like `train`, on a data set that is already there. Raises BadInput."""
    name = options.name or model_name(data.name)
    check_name(name, options.version)
    check_class_names(data.class_names)
    with torch_threads(options.threads), torch.random.fork_rng():
        torch.manual_seed(options.seed)
        return _train(data, name, options, on_progress or (lambda _: None))


def _train(
    data: DataSet, name: str, options: TrainOptions, report: Callable[[TrainProgress], None]
) -> Trained:
    if options.mask is not None:
        data = replace(data, held_out=options.mask.cover(data.held_out))
    epochs = options.epochs or _default_epochs(data)
    fixed_epochs = max(1, round(epochs * _FIXED_SHARE))

    def numbered(phase: Phase, first: int, results: Iterator[tuple[float, float]]) -> None:
        for done, (loss, accuracy) in enumerate(results, first + 1):
            report(TrainProgress(done, epochs, phase, loss, accuracy))

    network = ICNN(data.image_shape, len(data.class_names), options.widths)
    source = torch.Generator().manual_seed(options.seed)
    batches = _Batches(data, options, source)
    float_epochs = epochs - fixed_epochs
    numbered("float", 0, _train_float(network, batches, float_epochs, options))
    traced = trace(network, data.image_shape, options.precision)
    twin = FixedPointTwin(traced.plan, fold(traced))
    twin.project()
    numbered("fixed", float_epochs, _train_fixed(twin, batches, fixed_epochs, options))

    folded = _folded_network(twin.real(), data, options.widths)
    model = compile_network(folded, data.image_shape, options.precision)
    card = ModelCard(
        name=name,
        version=options.version,
        data_set=visible(data.name)[:MAX_TEXT],
        image_shape=data.image_shape,
        class_names=data.class_names,
        polarity=data.polarity,
        crop=CROP,
        seed=options.seed,
        epochs=epochs,
        training_pictures=len(data.train),
        held_out_pictures=len(data.held_out),
        accuracy_float=float_accuracy(folded, data),
        accuracy_fixed=fixed_accuracy(model, data),
        plan_hash=model.plan.hash.hex(),
        twinveil_version=VERSION,
        mask=None if options.mask is None else options.mask.digest,
    )
    tensors = {key: tensor.numpy().copy() for key, tensor in folded.state_dict().items()}
    return Trained(model, card, tensors, options.mask)


def load_float_network(folder: str | Path, image_shape: Shape) -> ICNN:
    """The trained network in torch, real weights and no batch normalisation. Raises BadInput."""
    return ICNN.from_tensors(load_float_tensors(folder), image_shape)


@torch.no_grad()
def float_accuracy(network: nn.Module, data: DataSet) -> float:
    """Share of the held-out pictures that the network in real numbers classifies rightly."""
    network.eval()
    hits = 0
    for start in range(0, len(data.held_out), 256):
        pixels = torch.from_numpy(data.held_out[start : start + 256]).float() / (1 << PIXEL_FRACTION_BITS)
        labels = torch.from_numpy(data.held_out_labels[start : start + 256])
        hits += int((network(pixels).argmax(dim=1) == labels).sum())
    return hits / len(data.held_out)


def fixed_accuracy(model: QuantisedModel, data: DataSet) -> float:
    """Share of the held-out pictures that the oracle classifies rightly."""
    return float(np.mean(oracle.classify_batch(model, data.held_out) == data.held_out_labels))


class _Batches:
    """Epochs of distorted and covered training pictures, as pixels 0 .. 255 as floats, in random order."""

    def __init__(self, data: DataSet, options: TrainOptions, source: torch.Generator) -> None:
        self._pixels = torch.from_numpy(data.train)
        self._labels = torch.from_numpy(data.train_labels)
        self._size = min(options.batch, len(data.train))
        self._distortions, self._source = options.distortions, source
        self._visible = None if options.mask is None else torch.from_numpy(options.mask.visible).float()
        self.count = len(data.train) // self._size

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self._pixels), generator=self._source)
        # The last, smaller batch waits for another epoch: batch normalisation needs company.
        for places in order[: self.count * self._size].reshape(self.count, self._size):
            pixels = self._pixels[places].float()
            distorted = distort(pixels, self._distortions, self._source)
            covered = distorted if self._visible is None else distorted * self._visible
            yield covered, self._labels[places]


def _train_float(
    network: ICNN, batches: _Batches, epochs: int, options: TrainOptions
) -> Iterator[tuple[float, float]]:
    if not epochs:
        return
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=epochs * batches.count, pct_start=0.2
    )
    for _ in range(epochs):
        yield _epoch(
            lambda pixels: network(pixels / (1 << PIXEL_FRACTION_BITS)), batches, optimizer, schedule
        )
    network.eval()


def _train_fixed(
    twin: FixedPointTwin, batches: _Batches, epochs: int, options: TrainOptions
) -> Iterator[tuple[float, float]]:
    optimizer = torch.optim.Adam(twin.parameters(), lr=options.learning_rate / 4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches.count)
    for _ in range(epochs):
        yield _epoch(twin, batches, optimizer, schedule, twin.project)


def _epoch(
    network: Callable[[Tensor], Tensor],
    batches: _Batches,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    after_step: Callable[[], None] = lambda: None,
) -> tuple[float, float]:
    """One pass over the training pictures: mean loss and accuracy. Raises BadInput if training diverges."""
    losses, hits, seen = 0.0, 0, 0
    for pixels, labels in batches.epoch():
        scores = network(pixels)
        loss = functional.cross_entropy(scores, labels, label_smoothing=0.05)
        losses += descend(optimizer, loss) * len(labels)
        schedule.step()
        after_step()
        hits += int((scores.detach().argmax(dim=1) == labels).sum())
        seen += len(labels)
    return losses / seen, hits / seen


@torch.no_grad()
def _folded_network(real: dict[str, RealLayer], data: DataSet, widths: Widths) -> ICNN:
    """The trained weights in a network without batch normalisation, by the names that tracing gives."""
    network = ICNN(data.image_shape, len(data.class_names), widths, batch_norm=False).eval()
    for name, layer in trace(network, data.image_shape).linear.items():
        layer.module.weight.copy_(torch.from_numpy(real[name].weights))
        if layer.module.bias is not None:
            layer.module.bias.copy_(torch.from_numpy(real[name].biases))
    return network


def _default_epochs(data: DataSet) -> int:
    _, height, width = data.image_shape
    return max(4, min(200, round(_PICTURES_SEEN * 784 / (height * width) / len(data.train))))


def model_name(data_set: str) -> str:
    """A folder's name as a model's: lower case, anything unusual a hyphen."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in data_set.lower())
    return plain.strip("._-")[:64] or "model"
