"""Pictures through both clouds, one query each, and what each cloud's view of it comes to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from twinveil import blinding, oracle
from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import TwinveilError
from twinveil.net.recording import read_view
from twinveil.plan import IMAGE, QuantisedModel
from twinveil.protocol.shares import Words
from twinveil.rehearsal.clouds import Clouds, Rehearsed
from twinveil.rehearsal.views import Rows, fold
from twinveil.rpc import rounds_pb2 as pb
from twinveil.schedule import schedule

_CIPHERTEXTS = {"prepare": "masked_sums", "masked_plaintexts": "ciphertexts", "masked_sums": "ciphertexts"}
"""Fields of the requests that S2 decrypts."""


def rehearse(model: QuantisedModel, pictures: npt.NDArray[np.uint8], key_bits: int) -> Iterator[Rows]:
    """The views of each picture of (n, channels, height, width), as twinveil.rehearsal.views names them.

    Raises TwinveilError if the protocol's answer is not the oracle's: then nothing seen means anything.
    """
    clouds = Clouds(model, key_bits)
    with tempfile.TemporaryDirectory() as folder:
        for number, picture in enumerate(pictures):
            views = Path(folder) / f"{number}.s1", Path(folder) / f"{number}.s2"
            seen = clouds.classify(picture, *views)
            if (seen.vector != oracle.run(model, picture)).any():
                raise TwinveilError("the rehearsed protocol did not give the oracle's class vector")
            yield _row(clouds, picture, seen, *views)
            for view in views:
                view.unlink()


def _row(clouds: Clouds, picture: npt.NDArray[np.uint8], seen: Rehearsed, s1: Path, s2: Path) -> Rows:
    requests = [received.message for received in read_view(s2)]
    plan, width = clouds.model.plan, blinding.half_bytes(clouds.public.n)
    segment = blinding.picture_segment(plan, 1, key_bits=clouds.key_bits, sigma=clouds.params.sigma)
    plain = blinding.encode(blinding.pack(picture.reshape(-1).astype(np.uint64), segment), width)
    pieces = schedule(plan).pieces
    unmasked = {
        name: (seen.s1_shares[name] + share) & np.uint64((1 << pieces[name].share_bits) - 1)
        for name, share in seen.s2_shares.items()
        if name in seen.s1_shares
    }
    return {
        "vector": seen.vector,
        "s1_half": _bytes(seen.s1_half),
        "s1_received": fold(b"".join(_fields(received.message) for received in read_view(s1))),
        "s2_half": _bytes(seen.s2_half),
        "s2_picture": _picture(seen.s2_shares),
        "s2_shares": _later(seen.s2_shares),
        "s2_opened": fold(b"".join(_opened(request, clouds.secret) for request in requests)),
        "s2_received": fold(b"".join(map(_fields, requests))),
        "unmasked_half": _bytes(plain),
        "unmasked_picture": _picture(unmasked),
        "unmasked_shares": _later(unmasked),
    }


def _opened(request: pb.Round, key: SecretKey) -> bytes:
    """The plaintexts that S2 gets out of one request."""
    body = str(request.WhichOneof("body"))
    if body not in _CIPHERTEXTS:
        return b""
    data: bytes = getattr(getattr(request, body), _CIPHERTEXTS[body])
    public = key.public_key
    width = blinding.half_bytes(public.n)
    return blinding.encode(key.decrypt(public.parse(data, len(data) // (2 * width))), width)


def _fields(message: Message) -> bytes:
    """The byte fields of a message, in order, without what frames them."""
    found = []
    for _, value in message.ListFields():
        if isinstance(value, bytes):
            found.append(value)
        elif isinstance(value, Message):
            found.append(_fields(value))
    return b"".join(found)


def _picture(shares: dict[str, Words]) -> npt.NDArray[np.uint32]:
    return shares[IMAGE][:, 0].astype(np.uint32)


def _later(shares: dict[str, Words]) -> npt.NDArray[np.uint32]:
    """All but the picture, in one row."""
    return np.concatenate([shares[name].reshape(-1) for name in sorted(shares) if name != IMAGE]).astype(
        np.uint32
    )


def _bytes(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)
