"""Held-out pictures as files, to classify them later: FOLDER/CLASS/NUMBER.png, all of them or none."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from owner.training.datasets import DataSet
from twinveil.errors import BadImage, BadInput
from twinveil.files import creating_folder, private_folder, replace
from twinveil.pictures.decoding import stored_picture
from twinveil.pictures.files import Picture
from twinveil.pictures.folders import pictures_below


def write_held_out(data: DataSet, folder: Path) -> None:
    """Every held-out picture; a folder that has just these already is left as it is.

    Raises BadInput for a folder with other pictures: they would be taken for held-out ones.
    """
    folder = Path(os.path.realpath(folder))
    try:
        if folder.exists() and any(folder.iterdir()):
            if not _holds(folder, data):
                raise BadInput(
                    f"{folder} is there and does not hold the pictures that are held out here: "
                    "remove it or name another folder"
                )
            return
        with creating_folder(folder) as part:
            for name, image in _images(data):
                private_folder((part / name).parent)
                replace(part / name, _png(image))
    except OSError as error:
        raise BadInput(f"{folder} cannot be written: {error.strerror or error}") from error


def _holds(folder: Path, data: DataSet) -> bool:
    """Whether these and no other pictures are there: pixels count, however they were compressed."""
    expected = dict(_images(data))
    if {str(path.relative_to(folder)) for path in pictures_below(folder)} != set(expected):
        return False
    try:
        return all(
            np.array_equal(np.asarray(stored_picture(folder / name)), np.asarray(image))
            for name, image in expected.items()
        )
    except BadImage:
        return False


def _images(data: DataSet) -> Iterator[tuple[str, Image.Image]]:
    """CLASS/NUMBER.png and what is to be seen there."""
    for number, (picture, label) in enumerate(zip(data.held_out, data.held_out_labels, strict=True)):
        yield f"{data.class_names[int(label)]}/{number:05d}.png", _as_image(picture)


def _as_image(picture: Picture) -> Image.Image:
    return Image.fromarray(
        picture[0] if len(picture) == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0))
    )


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
