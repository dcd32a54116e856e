"""Recognition under target masks, as a library call: the picture is covered first, then recognised.

with one mask it is used; of several either the most accurate one or, for every picture anew, any of them

recognition = Recognition.load(folder)
[found] = recognition.recognise(["face.png"])
found.class_name, found.mask
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from owner.masks.recogniser import Recogniser
from owner.masks.results import read_known
from owner.masks.study import Study
from owner.masks.tables import Rule
from owner.training.threads import torch_threads
from twinveil.errors import BadInput
from twinveil.network.card import PictureSpec
from twinveil.pictures.files import Picture, Source, load_picture, several
from twinveil.pictures.masks import Mask
from twinveil.values import check_word

Choice = Literal["accurate", "random"]


@dataclass(frozen=True, slots=True)
class Recognised:
    """share: what softmax gives the class. mask: name of the one that covered the picture."""

    label: int
    class_name: str
    share: float
    mask: str


class Recognition:
    """The masked-image recogniser of the first run, and the masks that pictures may be covered with."""

    def __init__(
        self, network: Recogniser, masks: Sequence[Mask], class_names: Sequence[str], spec: PictureSpec
    ) -> None:
        """masks: the most accurate first."""
        self._network, self.masks = network, tuple(masks)
        self._class_names, self._spec = tuple(class_names), spec

    @classmethod
    def load(cls, folder: str | Path, masks: Sequence[Mask] = (), rule: Rule = "published") -> Recognition:
        """From a study's folder; its pictures are not needed.

        masks: of the study; by default those that were selected by `rule`.
        Raises BadInput if nothing was selected, or for a mask that was not measured in the study.
        """
        check_word("rule", rule, Rule)
        place = Path(folder)
        known, study = read_known(place), Study.load(place)
        if not masks:
            by_name = {mask.name: mask for mask in study.masks}
            masks = [by_name[name] for name in known.selected[rule] if name in by_name]
        if not masks:
            others = [f"--rule {other} ({len(names)})" for other, names in known.selected.items() if names]
            why = known.empty.get(rule, "none of its masks is in the study")
            raise BadInput(
                f"the {rule} rule has selected no mask ({why}): give {' or '.join([*others, '--mask FILE'])}"
            )
        for mask in masks:
            if mask.digest not in known.accuracy:
                raise BadInput(
                    f"mask {mask.name} is none of the masks of {place}, so that nobody knows its accuracy: "
                    "study it with twinveil mask train --masks"
                )
        ranked = sorted(masks, key=lambda mask: -known.accuracy[mask.digest])
        network = study.recogniser("masked", study.settings.first_seed)
        spec = PictureSpec(study.settings.image_shape, study.pictures.polarity)
        return cls(network, ranked, study.pictures.class_names, spec)

    def recognise(
        self,
        sources: Source | Iterable[Source],
        choose: Choice = "accurate",
        seed: int | None = None,
    ) -> list[Recognised]:
        """One Recognised for each source, or for the only one: a file, its content, a picture of that shape.

        seed: makes random choices repeat. Raises BadImage, BadInput.
        """
        check_word("choose", choose, Choice)
        source = np.random.default_rng(secrets.randbits(64) if seed is None else seed)
        found = []
        for each in several(sources):
            place = int(source.integers(len(self.masks))) if choose == "random" else 0
            found.append(self._recognise(self._read(each), self.masks[place]))
        return found

    def _read(self, source: str | Path | bytes | Picture) -> Picture:
        return source if isinstance(source, np.ndarray) else load_picture(source, self._spec)

    @torch.no_grad()
    def _recognise(self, picture: Picture, mask: Mask) -> Recognised:
        with torch_threads():
            shares = torch.softmax(self._network(torch.from_numpy(mask.cover(picture)[None]).float()), dim=1)
        label = int(shares.argmax())
        return Recognised(label, self._class_names[label], float(shares[0, label]), mask.name)
