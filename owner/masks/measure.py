"""What a study's models make of its test pictures, under each mask, before and after repair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from owner.masks.recogniser import Recogniser, recognise
from owner.masks.repair import fill_with_mean, pooled_psnr, repair
from owner.masks.study import Study
from owner.training.threads import torch_threads
from twinveil.pictures.files import Picture
from twinveil.pictures.masks import GROUP_NAMES, Mask, group_of
from twinveil.wording import Telling

Hits = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """A mask as tables name it; share: of the picture, covered."""

    name: str
    group: str
    share: float
    digest: str


@dataclass(frozen=True, slots=True, eq=False)
class RecognisedCounts:
    """Test pictures that are recognised, of `pictures`: whole ones (runs,), under each mask (runs, masks)."""

    masks: tuple[MaskFacts, ...]
    pictures: int
    original_whole: Hits
    masked_whole: Hits
    original: Hits
    masked: Hits


@dataclass(frozen=True, slots=True, eq=False)
class Attack:
    """One mask under the repair attack: hits of both recognisers on repaired pictures (runs,); PSNR in dB.

    repaired: one value a run; mean: of filling with the mean, which needs no training.
    """

    masked: Hits
    original: Hits
    repaired: tuple[float, ...]
    mean: float


def facts(mask: Mask) -> MaskFacts:
    return MaskFacts(mask.name, GROUP_NAMES[group_of(mask)], mask.share, mask.digest)


def measure(study: Study, report: Telling = lambda done, of, label: None) -> RecognisedCounts:
    """Both recognisers of every run on every test picture, under every mask. Raises BadInput."""
    tests, runs = study.data.held_out, study.settings.runs
    covered = [tests, *(mask.cover(tests) for mask in study.masks)]
    hits: dict[str, Hits] = {}
    with torch_threads():
        for number, kind in enumerate(("original", "masked")):
            hits[kind] = np.zeros((runs, len(covered)), np.int64)
            for run, seed in enumerate(study.settings.seeds):
                report(number * runs + run, 2 * runs, f"{kind} recogniser, seed {seed}")
                network = study.recogniser("original" if kind == "original" else "masked", seed)
                hits[kind][run] = [_hits(study, network, pictures) for pictures in covered]
    return RecognisedCounts(
        tuple(facts(mask) for mask in study.masks),
        len(tests),
        hits["original"][:, 0],
        hits["masked"][:, 0],
        hits["original"][:, 1:],
        hits["masked"][:, 1:],
    )


class Attacker:
    """Repairs the test pictures under one mask after the other; remembers what it has measured."""

    def __init__(self, study: Study, report: Callable[[str], None] = lambda mask: None) -> None:
        self._study, self._report = study, report
        self._masks = {mask.name: mask for mask in study.masks}
        self._made: dict[str, Attack] = {}
        seeds = study.settings.seeds
        self._models = [
            (study.repairer(seed), study.recogniser("masked", seed), study.recogniser("original", seed))
            for seed in seeds
        ]

    def __call__(self, name: str) -> Attack:
        if name not in self._made:
            self._report(name)
            with torch_threads():
                self._made[name] = self._attack(self._masks[name])
        return self._made[name]

    def repaired(self, covered: Picture, mask: Mask) -> Picture:
        """Pictures (n, channels, height, width) made whole by the repair network of the first run."""
        with torch_threads():
            return repair(self._models[0][0], covered, mask)

    def _attack(self, mask: Mask) -> Attack:
        tests = self._study.data.held_out
        covered = mask.cover(tests)
        masked, original, repaired = [], [], []
        for repairer, ours, theirs in self._models:
            made = repair(repairer, covered, mask)
            masked.append(_hits(self._study, ours, made))
            original.append(_hits(self._study, theirs, made))
            repaired.append(pooled_psnr(made, tests))
        mean = pooled_psnr(fill_with_mean(covered, mask), tests)
        return Attack(np.array(masked), np.array(original), tuple(repaired), mean)


def _hits(study: Study, network: Recogniser, pictures: Picture) -> int:
    return int(np.count_nonzero(recognise(network, pictures) == study.data.held_out_labels))
