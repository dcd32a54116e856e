"""What a rehearsal writes down: one npz of arrays, a row a picture. Needs no key to be read.

    model           (n, 32) uint8              SHA-256 of plan and weights (see `model_digest`)
    key_bits        (n,) int64                 length of the key
    vector          (n, classes) int64         the answer, as the user gets it
    s1_half         (n, c, h, w) uint8         m, the user's half for S1
    s1_picture      (n, c, h, w) uint32        S1's share of the picture, x - u
    s1_shares       (n, values) uint32         S1's shares of all later activations
    s1_received     (n, numbers) uint8         all that S1 received from S2, field by field (see `fold`)
    s2_half         (n, c, h, w) uint8         d xor m, the user's half for S2
    s2_picture      (n, c, h, w) uint32        S2's share of the picture, x - r
    s2_shares       (n, values) uint32         S2's shares of all later activations
    s2_opened       (n, numbers) uint8         every plaintext that S2 decrypted, like s1_received
    s2_received     (n, numbers) uint8         all that S2 received from S1, like s1_received
    unmasked_picture, unmasked_shares          like either cloud's, the other's masks taken off
    s1_planted      (n, numbers) uint8         S1's largest field, folded with the picture in it, in clear
    s2_planted      (n, numbers) uint8         the same of S2's largest field

The last four are nobody's view. They are what a cloud would see had the masks been left out, or had one
message held the picture: the positive control of whatever is tried on the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256, shake_256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinveil.errors import BadInput
from twinveil.files import replacing
from twinveil.network.plan import QuantisedModel

Rows = Mapping[str, npt.NDArray[np.generic]]
Bytes = npt.NDArray[np.uint8]

FIELD = 1 << 17
"""Bytes of a message's field that are kept as they are; a longer one is folded to so many numbers."""

_SPREAD = 32
"""Standard deviation of folded numbers where bytes are uniform (theirs is 73.9): four of them fit a byte."""

_FORMS: Mapping[str, tuple[type[np.generic], int]] = {
    "model": (np.uint8, 2),
    "key_bits": (np.int64, 1),
    "vector": (np.int64, 2),
    "s1_half": (np.uint8, 4),
    "s1_picture": (np.uint32, 4),
    "s1_shares": (np.uint32, 2),
    "s1_received": (np.uint8, 2),
    "s2_half": (np.uint8, 4),
    "s2_picture": (np.uint32, 4),
    "s2_shares": (np.uint32, 2),
    "s2_opened": (np.uint8, 2),
    "s2_received": (np.uint8, 2),
    "unmasked_picture": (np.uint32, 4),
    "unmasked_shares": (np.uint32, 2),
    "s1_planted": (np.uint8, 2),
    "s2_planted": (np.uint8, 2),
}
"""Type and dimensions of each array."""

NAMES = tuple(_FORMS)


def model_digest(model: QuantisedModel) -> Bytes:
    """(32,): says which model views were recorded of."""
    digest = sha256(model.plan.hash)
    for tensors in (model.weights, model.biases):
        for name in sorted(tensors):
            digest.update(np.ascontiguousarray(tensors[name]).astype("<i8").tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def fold(field: Bytes) -> Bytes:
    """A field of a message as at most FIELD numbers.

    Each byte of a longer one is added, with a sign of its place, at place % FIELD. Every byte takes part;
    equal layouts fold alike. What one byte says is drowned in the others that are added to it: whether a
    picture can still be found is for the planted one to show.
    """
    if len(field) <= FIELD:
        return field
    rows = -(-len(field) // FIELD)
    padded = np.zeros(rows * FIELD, np.float32)
    padded[: len(field)] = (field.astype(np.float32) - 127.5) * _signs(len(field))
    folded = padded.reshape(rows, FIELD).sum(axis=0) * np.float32(_SPREAD / (73.9 * rows**0.5))
    numbers: Bytes = np.clip(np.rint(128 + folded), 0, 255).astype(np.uint8)
    return numbers


def planted(field: Bytes, picture: Bytes) -> Bytes:
    """A field with a picture's bytes in its midst, folded: what it would be if it held the picture once."""
    leaking, pixels = field.copy(), picture.reshape(-1)
    start = max(0, len(field) - len(pixels)) // 2
    leaking[start : start + len(pixels)] = pixels[: len(field)]
    return fold(leaking)


def _signs(count: int) -> npt.NDArray[np.float32]:
    """1 or -1 for each place: public, and the same for every view."""
    stream = np.frombuffer(shake_256(b"twinveil fold").digest(-(-count // 8)), np.uint8)
    signs: npt.NDArray[np.float32] = np.float32(1) - 2 * np.unpackbits(stream)[:count].astype(np.float32)
    return signs


def save_views(path: Path, rows: Sequence[Rows]) -> None:
    """Stack the rows of all queries and write them, mode 0600. Raises BadInput if they differ in size."""
    sizes = {tuple(row[name].shape for name in NAMES) for row in rows}
    if len(sizes) != 1:
        raise BadInput("the views of different pictures differ in size")
    arrays: dict[str, Any] = {name: np.stack([row[name] for row in rows]) for name in NAMES}
    with replacing(path) as file:  # an open file: to a path numpy would add ".npz"
        np.savez(file, **arrays)


def load_views(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays of a rehearsal, by name. Raises BadInput if the file is missing, damaged or foreign."""
    try:
        with np.load(path, allow_pickle=False) as file:
            views = {name: file[name] for name in NAMES}
    except FileNotFoundError:
        raise BadInput(f"{path} is missing") from None
    except Exception as error:  # numpy and zipfile raise anything at damaged files
        raise BadInput(f"{path} does not hold the views of a rehearsal") from error
    # An entry that does not begin like an array comes back as bytes.
    if any(
        (getattr(views[name], "dtype", None), np.ndim(views[name])) != form for name, form in _FORMS.items()
    ):
        raise BadInput(f"{path} is damaged: not all that it holds are arrays of views")
    if {rows.shape[:1] for rows in views.values()} != {views["key_bits"].shape}:
        raise BadInput(f"{path} is damaged: its arrays differ in length")
    return views
