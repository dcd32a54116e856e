"""Pictures through both clouds, one query each, and what each cloud's view of it comes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinveil.crypto.keygen import generate
from twinveil.errors import TwinveilError
from twinveil.halves import blinding
from twinveil.network import oracle
from twinveil.network.plan import IMAGE, QuantisedModel
from twinveil.network.schedule import schedule
from twinveil.params import Params
from twinveil.protocol.packed.s1 import PackedS1
from twinveil.rehearsal.arrays import Rows, fold, model_digest, planted
from twinveil.rehearsal.clouds import Clouds
from twinveil.ring import Words
from twinveil.views.recorder import Recording, rows
from twinveil.views.view import Bytes, View


def rehearse(model: QuantisedModel, pictures: npt.NDArray[np.uint8], key_bits: int) -> Iterator[Rows]:
    """The views of each picture of (n, channels, height, width), as twinveil.rehearsal.arrays names them.

    Raises TwinveilError if the protocol's answer is not the oracle's: then nothing seen means anything.
    """
    clouds = Clouds(model, generate(Params(key_bits, insecure_small_key=key_bits < 2048)))
    for picture in pictures:
        recordings = {role: Recording(role, _forget) for role in ("cloud_s1", "cloud_s2")}
        clouds.observer = recordings.__getitem__
        answered = clouds.classify(picture[np.newaxis])
        if (answered.values[0] != oracle.run(model, picture)).any():
            raise TwinveilError("the rehearsed protocol did not give the oracle's class vector")
        if not isinstance(answered.engine_s1, PackedS1):
            raise TypeError("the packed engine runs here")
        shares = answered.engine_s1.shares
        seen = _Seen(answered.values[0], recordings["cloud_s1"].view, recordings["cloud_s2"].view, shares)
        yield _row(clouds, picture, seen)


def _forget(view: View) -> None:
    """Whoever asked for the query has the view already."""


@dataclass(frozen=True)
class _Seen:
    """One query: the class vector (classes,), what each cloud saw, and S1's own shares, by activation.

    The shares are no part of S1's view of the other side: S1 drew them. They take the masks off S2's.
    """

    vector: npt.NDArray[np.int64]
    s1: View
    s2: View
    s1_shares: Mapping[str, Words]


def _row(clouds: Clouds, picture: npt.NDArray[np.uint8], seen: _Seen) -> Rows:
    plan, n, params = clouds.model.plan, clouds.public.n, clouds.params
    segment = blinding.picture_segment(plan, 1, key_bits=params.key_bits, sigma=params.sigma)
    plain = blinding.pack(picture.reshape(-1).astype(np.uint64), segment)
    pieces = schedule(plan).pieces
    masked = _shares(seen.s2)
    unmasked = {
        name: (seen.s1_shares[name].reshape(-1) + share) & np.uint64((1 << pieces[name].share_bits) - 1)
        for name, share in masked.items()
    }
    return {
        "model": model_digest(clouds.model),
        "key_bits": np.array(params.key_bits),
        "vector": seen.vector,
        "s1_half": np.concatenate(_fields(seen.s1, "half")),
        "s1_received": _folded(seen.s1, "received"),
        "s2_half": np.concatenate(_fields(seen.s2, "half")),
        "s2_picture": masked[IMAGE].astype(np.uint32).reshape(plan.image_shape),
        "s2_shares": _later(masked),
        "s2_opened": _folded(seen.s2, "decrypted"),
        "s2_received": _folded(seen.s2, "received"),
        "unmasked_half": rows(plain, n.bit_length()).reshape(-1),
        "unmasked_picture": unmasked[IMAGE].astype(np.uint32).reshape(plan.image_shape),
        "unmasked_shares": _later(unmasked),
        "s1_planted": planted(_largest(seen.s1), picture),
        "s2_planted": planted(_largest(seen.s2), picture),
    }


def _fields(view: View, what: str) -> list[Bytes]:
    """Everything of one sort in a view, in the order in which it came."""
    return [
        array.reshape(-1) for event in view.events if event.what == what for array in event.arrays.values()
    ]


def _folded(view: View, what: str) -> Bytes:
    return np.concatenate([fold(field) for field in _fields(view, what)])


def _largest(view: View) -> Bytes:
    """Where a picture is hardest to find: nothing is folded more."""
    return max(_fields(view, "received"), key=len)


def _shares(view: View) -> dict[str, Words]:
    """S2's shares by activation, flat: what the circuits put out for it."""
    return {
        event.name: _integers(event.arrays["values"]) for event in view.events if event.what == "evaluated"
    }


def _integers(values: Bytes) -> Words:
    """Rows of bytes, little endian, as numbers."""
    places = np.arange(values.shape[1], dtype=np.uint64) * np.uint64(8)
    whole: Words = (values.astype(np.uint64) << places).sum(axis=1, dtype=np.uint64)
    return whole


def _later(shares: Mapping[str, Words]) -> npt.NDArray[np.uint32]:
    """All but the picture, in one row."""
    return np.concatenate([shares[name] for name in sorted(shares) if name != IMAGE]).astype(np.uint32)
