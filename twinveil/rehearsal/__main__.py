"""python -m twinveil.rehearsal MODEL PICTURES.npy VIEWS.npz: both clouds in this process, views written down.

PICTURES.npy: uint8 (n, channels, height, width). Says "done total" on a line of its own after every query.
"""

from __future__ import annotations

from twinveil.start.process import leave_folder

if __name__ == "__main__":
    leave_folder()

import argparse
import sys
from pathlib import Path

import numpy as np

from twinveil.errors import BadInput
from twinveil.network.folder import load_model
from twinveil.rehearsal.arrays import save_views
from twinveil.rehearsal.record import rehearse
from twinveil.start.boundary import guarded
from twinveil.values import whole


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m twinveil.rehearsal", description=__doc__)
    parser.add_argument("model", type=Path, help="a model's folder")
    parser.add_argument("pictures", type=Path, help="uint8 (n, channels, height, width), .npy")
    parser.add_argument("views", type=Path, help="file to write, .npz")
    parser.add_argument("--key-bits", type=whole, default=512, help="length of the throw-away key")
    given = parser.parse_args()
    try:
        pictures = np.load(given.pictures, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"{given.pictures} does not hold pictures") from error
    model = load_model(given.model).model
    if pictures.dtype != np.uint8 or pictures.shape[1:] != model.plan.image_shape or not len(pictures):
        raise BadInput(f"{given.pictures} does not hold pictures of shape {model.plan.image_shape}")
    rows = []
    for row in rehearse(model, pictures, given.key_bits):
        rows.append(row)
        print(len(rows), len(pictures), flush=True)
    save_views(given.views, rows)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
