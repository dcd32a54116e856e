"""Pictures through both clouds, one query each, and what each cloud's view of it comes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from twinveil.crypto.keygen import generate
from twinveil.errors import TwinveilError
from twinveil.network import oracle
from twinveil.network.plan import IMAGE, Plan, QuantisedModel
from twinveil.network.schedule import schedule
from twinveil.params import Params
from twinveil.rehearsal.arrays import Rows, fold, model_digest, planted
from twinveil.rehearsal.clouds import Clouds
from twinveil.ring import Words, modulo
from twinveil.views.collection import with_items
from twinveil.views.recorder import Recording
from twinveil.views.view import Bytes, View
from twinveil.views.words import unpacked, words_in


def rehearse(model: QuantisedModel, pictures: npt.NDArray[np.uint8], key_bits: int) -> Iterator[Rows]:
    """The views of each picture of (n, channels, height, width), as twinveil.rehearsal.arrays names them.

    Raises TwinveilError if the protocol's answer is not the oracle's: then nothing seen means anything.
    """
    clouds = Clouds(model, generate(Params(key_bits, insecure_small_key=key_bits < 2048)))
    seen: list[View] = []
    clouds.observer = lambda role: Recording(role, seen.append)
    clouds.classify(pictures[:1])  # spends the first item, whose view is larger: base transfers come with it
    for picture in pictures:
        seen.clear()
        answered = clouds.classify(picture[np.newaxis])
        if (answered.values[0] != oracle.run(model, picture)).any():
            raise TwinveilError("the rehearsed protocol did not give the oracle's class vector")
        s1, s2 = (
            with_items(query, seen)
            for role in ("cloud_s1", "cloud_s2")
            for query in seen
            if query.role == role and query.subject.kind == "query"
        )
        yield _row(clouds, picture, answered.values[0], s1, s2)


def _row(
    clouds: Clouds,
    picture: npt.NDArray[np.uint8],
    vector: npt.NDArray[np.int64],
    s1: Sequence[View],
    s2: Sequence[View],
) -> Rows:
    """vector: (classes,). s1, s2: what each cloud saw, of the picture's item and of the query."""
    plan = clouds.model.plan
    at_s1, at_s2, opened = _shares(s1, " - u"), _shares(s2, " - r"), _opened(s1[-1])
    unmasked = {
        name: modulo(at_s1[name] + share - opened[name], schedule(plan).pieces[name].share_bits)
        for name, share in at_s2.items()
    }
    return {
        "model": model_digest(clouds.model),
        "key_bits": np.array(clouds.params.key_bits),
        "vector": vector,
        "s1_half": _half(s1, plan),
        "s1_picture": at_s1[IMAGE].astype(np.uint32).reshape(plan.image_shape),
        "s1_shares": _later(at_s1),
        "s1_received": _folded(s1, "received"),
        "s2_half": _half(s2, plan),
        "s2_picture": at_s2[IMAGE].astype(np.uint32).reshape(plan.image_shape),
        "s2_shares": _later(at_s2),
        "s2_opened": _folded(s2, "decrypted"),
        "s2_received": _folded(s2, "received"),
        "unmasked_picture": unmasked[IMAGE].astype(np.uint32).reshape(plan.image_shape),
        "unmasked_shares": _later(unmasked),
        "s1_planted": planted(_largest(s1), picture),
        "s2_planted": planted(_largest(s2), picture),
    }


def _half(views: Sequence[View], plan: Plan) -> Bytes:
    """The user's half of the picture, a byte a pixel."""
    (half,) = _fields(views, "half")
    return half.reshape(plan.image_shape)


def _fields(views: Sequence[View], what: str) -> list[Bytes]:
    """Everything of one sort in some views, in the order in which it came."""
    events = [event for view in views for event in view.events if event.what == what]
    return [array.reshape(-1) for event in events for array in event.arrays.values()]


def _folded(views: Sequence[View], what: str) -> Bytes:
    return np.concatenate([fold(field) for field in _fields(views, what)])


def _largest(views: Sequence[View]) -> Bytes:
    """Where a picture is hardest to find: nothing is folded more."""
    return max(_fields(views, "received"), key=len)


def _shares(views: Sequence[View], mask: str) -> dict[str, Words]:
    """A cloud's shares by activation, flat: what it has of x under the other's mask."""
    return {
        event.name.removesuffix(mask): _integers(event.arrays["values"])
        for view in views
        for event in view.events
        if event.what == "shared" and event.name.endswith(mask)
    }


def _opened(query: View) -> dict[str, Words]:
    """e = x - r - u by activation, flat, and whatever else S2 sent S1."""
    turns = [event.arrays["shares"] for event in query.events if event.name == "shared_turn"]
    return {
        run.name: words
        for number, shares in enumerate(turns)
        for run, words in unpacked(shares, words_in(query, "shared_turn", "shares", number) or ())
    }


def _integers(values: Bytes) -> Words:
    """Rows of bytes, little endian, as numbers."""
    places = np.arange(values.shape[1], dtype=np.uint64) * np.uint64(8)
    whole: Words = (values.astype(np.uint64) << places).sum(axis=1, dtype=np.uint64)
    return whole


def _later(shares: dict[str, Words]) -> npt.NDArray[np.uint32]:
    """All but the picture's, in one row."""
    return np.concatenate([shares[name] for name in sorted(shares) if name != IMAGE]).astype(np.uint32)
