"""Recognition masks: which part of a picture is covered before anything leaves the camera.

    a file        black (0) covers, white (255, or 1) shows; nothing between, no colour, lossless
    in numbers    0 and 1; covering a picture is the product, so that what is covered is 0
    its digest    SHA-256 of shape and bits: in a model's card it says for which mask the model was trained

Masks are grouped by the share of the picture that they cover: 0.01-0.1, 0.1-0.2, ... 0.5-0.6.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from twinveil.errors import BadImage, BadInput
from twinveil.network.card import ModelCard
from twinveil.network.folder import MASK, load_card, read_file
from twinveil.pictures.decoding import stored_picture
from twinveil.pictures.files import Picture
from twinveil.pictures.folders import SUFFIXES, natural_order, pictures_in

Size = tuple[int, int]
"""(height, width)"""

GROUPS = ((0.01, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6))
"""Covered shares, from the first up to but without the second; 0.6 itself belongs to the last group."""

GROUP_NAMES = tuple(f"{low:g}-{high:g}" for low, high in GROUPS)
_CONVENTION = "black covers, white shows"


@dataclass(frozen=True, eq=False)
class Mask:
    """visible: bool (height, width), False where the picture is covered. name: its file's, without suffix."""

    name: str
    visible: npt.NDArray[np.bool_]

    @property
    def size(self) -> Size:
        height, width = self.visible.shape
        return height, width

    @property
    def covered(self) -> int:
        """Pixels that are covered."""
        return int(self.visible.size - np.count_nonzero(self.visible))

    @property
    def share(self) -> float:
        return self.covered / self.visible.size

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal, of height, width (32 bits each, big-endian) and the packed bits."""
        header = b"".join(side.to_bytes(4, "big") for side in self.size)
        bits = np.packbits(self.visible).tobytes()
        return hashlib.sha256(b"twinveil mask\0" + header + bits).hexdigest()

    def cover(self, pictures: Picture) -> Picture:
        """Pictures uint8 (..., height, width) with 0 wherever they are covered. Raises BadInput."""
        if pictures.shape[-2:] != self.size:
            raise BadInput(f"mask {self.name} is {_by(self.size)}, the picture {_by(pictures.shape[-2:])}")
        covered: Picture = pictures * self.visible.astype(np.uint8)
        return covered

    def to_png(self) -> bytes:
        file = io.BytesIO()
        Image.fromarray(self.visible.astype(np.uint8) * 255).save(file, "PNG", optimize=True)
        return file.getvalue()


def load_mask(source: str | Path | bytes, size: Size | None = None) -> Mask:
    """A mask from a file or its content. size: what it has to be. Raises BadInput, naming the file."""
    label = "the mask" if isinstance(source, bytes) else f"mask {source}"
    name = "mask" if isinstance(source, bytes) else Path(source).stem
    try:
        image = stored_picture(source)
    except BadImage as error:
        raise BadInput(f"{error}; a mask is a picture in black and white") from None
    pixels = np.asarray(image)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    levels = set(np.unique(pixels).tolist())
    if pixels.ndim != 2 or image.mode not in ("1", "L") or not (levels <= {0, 255} or levels <= {0, 1}):
        found = (
            f"{len(levels)} levels of grey"
            if pixels.ndim == 2 and image.mode == "L"
            else "colours or transparency"
        )
        raise BadInput(f"{label} is not binary: it has {found} ({_CONVENTION}, nothing between)")
    mask = Mask(name, pixels > 0)
    if size is not None and mask.size != size:
        raise BadInput(f"{label} is {_by(mask.size)} pixels, not {_by(size)}")
    return mask


def load_masks(folder: Path, size: Size) -> list[Mask]:
    """Every mask of a folder, by name. Raises BadInput for an empty folder or a mask that cannot be used."""
    files = sorted(pictures_in(folder), key=natural_order)
    if not files:
        raise BadInput(f"{folder} holds no masks ({', '.join(SUFFIXES)})")
    masks: dict[str, Mask] = {}
    for file in files:
        mask = load_mask(file, size)
        group_of(mask)
        if mask.digest in masks:
            raise BadInput(f"mask {file} is the same as {masks[mask.digest].name}: remove one of them")
        if any(mask.name == other.name for other in masks.values()):
            raise BadInput(f"{folder} holds two masks of the name {mask.name}")
        masks[mask.digest] = mask
    return list(masks.values())


def group_of(mask: Mask) -> int:
    """Index into GROUPS. Raises BadInput for a mask that covers too little or too much."""
    share = mask.share
    for index, (low, high) in enumerate(GROUPS):
        if low <= share < high or (share == high == GROUPS[-1][1]):
            return index
    raise BadInput(
        f"mask {mask.name} covers {share:.1%} of the picture, outside the groups "
        f"from {GROUPS[0][0]:.0%} to {GROUPS[-1][1]:.0%} ({_CONVENTION})"
    )


def mask_for(card: ModelCard, source: str | Path | bytes | Mask | None) -> Mask | None:
    """The mask under which the model of `card` wants its pictures; None if it wants them whole.

    Raises BadInput unless `source` is the very mask that the card names.
    """
    model = f"model {card.name} {card.version}"
    if source is None:
        if card.mask is not None:
            raise BadInput(f"{model} knows covered pictures only: give its mask ({card.mask[:12]}...)")
        return None
    if card.mask is None:
        raise BadInput(f"{model} was trained on whole pictures: it goes with no mask")
    size = card.image_shape[1:]
    mask = source if isinstance(source, Mask) else load_mask(source, size)
    if mask.size != size:
        raise BadInput(f"mask {mask.name} is {_by(mask.size)} pixels, {model} wants {_by(size)}")
    if mask.digest != card.mask:
        raise BadInput(
            f"mask {mask.name} ({mask.digest[:12]}...) is not the one of {model} ({card.mask[:12]}...)"
        )
    return mask


def load_model_mask(folder: str | Path) -> Mask | None:
    """The mask that a model's card names, None if it names none. Raises BadInput if it is not that one."""
    card = load_card(folder)
    return None if card.mask is None else mask_for(card, read_file(Path(folder) / MASK))


def _by(size: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in size)
