"""The model card: what a model was made from and what it wants to see. Public; no weights."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeGuard, get_args

from twinveil.errors import BadInput
from twinveil.network.plan import Plan, Shape
from twinveil.values import check_word, read_json

Polarity = Literal["light-on-dark", "dark-on-light", "any"]
"""What the training pictures look like; "any": pictures are taken as they are."""

MAX_TEXT = 1000
MAX_CLASS_NAME = 255
"""Letters; a folder's name has no more bytes."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_JOINER = re.compile(r"(?<=[^\u200c\u200d])[\u200c\u200d](?=[^\u200c\u200d])")
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,2}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PictureSpec:
    """How a picture must look for a model: (channels, height, width), 1 or 3 channels, 8 bits; polarity."""

    image_shape: Shape
    polarity: Polarity = "any"

    def __post_init__(self) -> None:
        check_word("polarity", self.polarity, Polarity)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Raises BadInput, in one line, for values that no training could have written.

    name, version: the model's key at the clouds; a version is 1 to 3 numbers with points between.
    class_names: see check_class_names; every other text is printable, too.
    crop: in words, how training pictures were brought to `image_shape`.
    accuracy_float, accuracy_fixed: share of the held-out pictures that each network classifies rightly.
    plan_hash: SHA-256 of the plan's canonical form, in hexadecimal.
    mask: digest of the mask under which the model knows pictures (pictures/masks.py); None: whole ones.
    """

    name: str
    version: str
    data_set: str
    image_shape: Shape
    class_names: tuple[str, ...]
    polarity: Polarity
    crop: str
    seed: int
    epochs: int
    training_pictures: int
    held_out_pictures: int
    accuracy_float: float
    accuracy_fixed: float
    plan_hash: str
    twinveil_version: str
    mask: str | None = None

    def __post_init__(self) -> None:
        fault = _fault(self)
        if fault:
            raise BadInput(f"the model card is not valid: {fault}")

    @property
    def picture(self) -> PictureSpec:
        return PictureSpec(self.image_shape, self.polarity)

    def check_plan(self, plan: Plan) -> None:
        """Raises BadInput unless the card belongs to `plan`."""
        if self.plan_hash != plan.hash.hex():
            raise BadInput(f"the card of model {self.name} belongs to another plan")
        if self.image_shape != plan.image_shape or len(self.class_names) != plan.output.out_features:
            raise BadInput(f"the card of model {self.name} contradicts its plan")

    def to_json(self) -> str:
        # A model without a mask has the card that it always had: who knows no masks can read it.
        data = {name: value for name, value in asdict(self).items() if (name, value) != ("mask", None)}
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelCard:
        """Raises BadInput for anything that is not exactly a card."""
        try:
            data: dict[str, Any] = read_json(text)
            for name in ("image_shape", "class_names"):
                if not isinstance(data[name], list):
                    raise TypeError
                data[name] = tuple(data[name])
            return cls(**data)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BadInput(f"not a model card: {type(error).__name__}") from None


def check_name(name: str, version: str) -> None:
    """Raises BadInput unless both can name a model: they become file names and table keys."""
    if not _is_text(name) or not _NAME.fullmatch(name):
        raise BadInput(f"a model's name is 1 to 64 of a-z 0-9 . _ -, not {str(name)[:80]!r}")
    if not _is_text(version) or not _VERSION.fullmatch(version):
        raise BadInput(f"a model's version is like 1 or 1.2.3, not {str(version)[:80]!r}")


@lru_cache(maxsize=1000)
def is_model_place(place: Path) -> bool:
    """Whether a folder of a store has a model's name, NAME@VERSION. What has not is logged, once."""
    try:
        check_name(*place.name.partition("@")[::2])
    except BadInput:
        log.warning("passed over, since it has no model's name: %r", str(place))
        return False
    return True


def check_class_names(names: Sequence[object]) -> None:
    """Raises BadInput unless a person can read and tell them apart: two or more, printable, none twice.

    Between two letters there may be a joiner, as Persian and emoji have them, which tells no names apart.
    """
    plain = [_JOINER.sub("", name) if isinstance(name, str) else name for name in names]
    for name, letters in zip(names, plain, strict=True):
        if not _is_text(letters, MAX_CLASS_NAME) or not letters:
            raise BadInput(
                f"the name of a class is 1 to {MAX_CLASS_NAME} printable letters, not {str(name)[:80]!r}"
            )
    if len(plain) < 2 or len(set(plain)) != len(plain):
        raise BadInput("there must be two or more classes, each with a name of its own")


def _fault(card: ModelCard) -> str | None:
    """What is wrong with a card that may come from anywhere, or None."""
    try:
        check_name(card.name, card.version)
        check_class_names(card.class_names)
    except BadInput as error:
        return str(error)
    for text in ("data_set", "crop", "twinveil_version"):
        if not _is_text(getattr(card, text)):
            return f"{text} must be a short printable text"
    for digest in ("plan_hash", *(["mask"] if card.mask is not None else [])):
        value = getattr(card, digest)
        if not _is_text(value) or not _DIGEST.fullmatch(value):
            return f"{digest} must be a SHA-256 in hexadecimal"
    for number in ("seed", "epochs", "training_pictures", "held_out_pictures"):
        if not _is_count(getattr(card, number)):
            return f"{number} must be a number from 0"
    for share in ("accuracy_float", "accuracy_fixed"):
        if not _is_share(getattr(card, share)):
            return f"{share} must be 0 to 1"
    if not _is_shape(card.image_shape):
        return "image_shape must be channels, height, width"
    if card.polarity not in get_args(Polarity):
        return f"polarity must be one of {', '.join(get_args(Polarity))}"
    return None


def _is_text(value: object, longest: int = MAX_TEXT) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= longest and value.isprintable()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_shape(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(_is_count(side) and side for side in value)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
