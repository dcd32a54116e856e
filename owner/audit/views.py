"""What each cloud sees of a query, as features for the same attacker; and the control without masks.

Each view has a control of its own: the same with the masks taken off, or, of the streams between the clouds,
the same with the picture put once, in clear, into the largest message before anything is folded. Only where
the attack succeeds on the control does its failure on the view say anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from owner.audit.attack import Material
from owner.audit.material import scaled
from owner.audit.pages import Stream, telling_pages
from owner.audit.subjects import TARGET_SHARE, VALIDATION_SHARE, Split, SubjectGroup, spread
from twinveil.errors import BadInput
from twinveil.network.plan import QuantisedModel
from twinveil.pictures.files import Picture
from twinveil.pictures.masks import Mask
from twinveil.rehearsal.arrays import model_digest

RecordedArrays = Mapping[str, npt.NDArray[np.generic]]

MIN_QUERIES = 40
"""A quarter of them are targets: ten can be paired in enough ways for a verdict."""


@dataclass(frozen=True)
class ViewFeatures:
    """One part of what a cloud sees: features of every recorded query, and of the same in clear.

    in_clear: what is different in the control, in words.
    """

    cloud: str
    name: str
    features: Tensor
    control: Tensor
    in_clear: str = "without masks"


@dataclass(frozen=True)
class Recorded:
    """Queries chosen of a split; their pictures lie in the order sample, validation, target.

    mask: covers the pictures that go through the protocol. The groups hold whole ones.
    """

    sample: SubjectGroup
    validation: SubjectGroup
    target: SubjectGroup
    mask: Mask | None = None

    @classmethod
    def choose(cls, split: Split, queries: int, seed: int, mask: Mask | None = None) -> Recorded:
        """`queries` pictures, a quarter of them targets, spread over the subjects. Raises BadInput."""
        if queries < MIN_QUERIES:
            raise BadInput(f"{queries} queries are too few to attack the views: take at least {MIN_QUERIES}")
        source = np.random.default_rng([seed, queries])
        attacked, checked = round(queries * TARGET_SHARE), round(queries * VALIDATION_SHARE)
        counts = (queries - attacked - checked, checked, attacked)
        groups = (split.sample, split.validation, split.target)
        sample, validation, target = (
            group.take(spread(group.subjects, min(count, len(group)), source))
            for group, count in zip(groups, counts, strict=True)
        )
        taken = len(sample) + len(validation) + len(target)
        if taken < MIN_QUERIES:
            raise BadInput(
                f"the split has pictures for {taken} of {queries} queries, too few to attack the views: at "
                f"least {MIN_QUERIES} are needed, or --queries 0"
            )
        return cls(sample, validation, target, mask)

    @property
    def pictures(self) -> npt.NDArray[np.uint8]:
        """As they go through the protocol."""
        whole = np.concatenate([group.pictures for group in (self.sample, self.validation, self.target)])
        return whole if self.mask is None else self.mask.cover(whole)

    def check(self, views: RecordedArrays, model: QuantisedModel) -> None:
        """Raises BadInput unless `views` are of these pictures (the control shows them) and this model."""
        digest = model_digest(model).tobytes()
        if any(row.tobytes() != digest for row in views["model"]):
            raise BadInput(
                "these views were recorded of another model: give that one, or another file to --views"
            )
        seen, pictures = views["unmasked_picture"], self.pictures
        if seen.shape != pictures.shape or (seen != pictures).any():
            raise BadInput(
                "these views were recorded of other pictures: use the same data, seed and --queries"
            )

    def material(self, features: Tensor) -> tuple[Material, Tensor]:
        """For the attacker to learn from, and the features of the targets. No distortions: no new queries."""
        learn, stop = len(self.sample), len(self.sample) + len(self.validation)
        sample = (features[:learn], scaled(self.sample.pictures))
        validation = (features[learn:stop], scaled(self.validation.pictures))
        return Material(lambda _: sample, validation), features[stop:]


def views(recorded: RecordedArrays, pictures: Picture) -> list[ViewFeatures]:
    """What comes from the user and what comes from the other cloud, at each cloud.

    pictures: of the sample queries, which the attacker knows.
    """
    at_s1, at_s2, unmasked = (
        [recorded[f"{whose}_picture"], recorded[f"{whose}_shares"]] for whose in ("s1", "s2", "unmasked")
    )
    s1_stream = [_stream(recorded["s1_received"])]
    s2_stream = [_stream(recorded[name]) for name in ("s2_half", "s2_opened", "s2_received")]
    return [
        ViewFeatures(
            "S1",
            "the user's half of the picture",
            _words(recorded["s1_half"]),
            _words(recorded["unmasked_picture"]),
        ),
        ViewFeatures("S1", "its shares of every activation", _all_words(at_s1), _all_words(unmasked)),
        ViewFeatures(
            "S1",
            "everything it receives from S2",
            telling_pages(s1_stream, pictures),
            telling_pages([*s1_stream, _stream(recorded["s1_planted"])], pictures),
            "with the picture in one message",
        ),
        ViewFeatures("S2", "its share of the picture", _words(at_s2[0]), _words(unmasked[0])),
        ViewFeatures("S2", "its shares of every activation", _all_words(at_s2), _all_words(unmasked)),
        ViewFeatures(
            "S2",
            "everything it receives and decrypts",
            telling_pages(s2_stream, pictures),
            telling_pages([*s2_stream, _stream(recorded["s2_planted"])], pictures),
            "with the picture in one message",
        ),
    ]


def _all_words(parts: Sequence[npt.NDArray[np.generic]]) -> Tensor:
    return torch.cat([_words(part).flatten(1) for part in parts], dim=1)


def _stream(values: npt.NDArray[np.generic]) -> Stream:
    return values.astype(np.uint8, copy=False).reshape(len(values), -1)


def _words(values: npt.NDArray[np.generic]) -> Tensor:
    """Shares, whole and by their low byte: side by side as channels, or as features."""
    whole = values.astype(np.uint32)
    return torch.from_numpy(
        np.concatenate([whole.astype(np.float32), (whole & 255).astype(np.float32)], axis=1)
    )
