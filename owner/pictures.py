"""Held-out pictures as files, to classify them later: FOLDER/CLASS/NUMBER.png, all of them or none."""

from __future__ import annotations

import io
import secrets
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from owner.datasets import DataSet
from twinveil.errors import BadInput
from twinveil.images import Picture
from twinveil.net.files import private_folder, replace


def write_held_out(data: DataSet, folder: Path) -> None:
    """Every held-out picture; a folder that is there already is left as it is. Raises BadInput."""
    if folder.is_dir():
        return
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        for number, (picture, label) in enumerate(zip(data.held_out, data.held_out_labels, strict=True)):
            place = part / data.class_names[int(label)]
            private_folder(place)
            replace(place / f"{number:05d}.png", _png(picture))
        part.rename(folder)
    except OSError as error:
        raise BadInput(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _png(picture: Picture) -> bytes:
    pixels = picture[0] if len(picture) == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
