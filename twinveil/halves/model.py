"""A model in two halves as it travels: for each of its engines, in their order, in the engine's own form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gmpy2 import mpz

from twinveil.errors import InvalidMessage
from twinveil.halves import integers, ring
from twinveil.network.plan import Plan, QuantisedModel
from twinveil.params import Params


@dataclass(frozen=True)
class Halves:
    """One cloud's half for each engine, checked."""

    packed: ring.ModelHalf | None = None
    textbook: integers.Half | None = None


def half_sizes(plan: Plan, engines: Sequence[str], params: Params) -> list[int]:
    """Bytes of one cloud's half for each engine. Raises TooMuch for more than an import takes."""
    sizes = {"packed": ring.model_bytes, "textbook": integers.model_bytes}
    return [sizes[engine](plan, params) for engine in engines]


def blind_model(model: QuantisedModel, engines: Sequence[str], params: Params, n: mpz) -> tuple[bytes, bytes]:
    """The owner's halves, for S1 and for S2."""
    blind = {"packed": ring.blind_model, "textbook": integers.blind_model}
    pairs = [blind[engine](model, params, n) for engine in engines]
    return b"".join(first for first, _ in pairs), b"".join(second for _, second in pairs)


def read_halves(plan: Plan, engines: Sequence[str], params: Params, n: mpz, data: bytes) -> Halves:
    """Raises InvalidMessage unless sizes are exact and every number is in its range."""
    sizes = half_sizes(plan, engines, params)
    if len(data) != sum(sizes):
        raise InvalidMessage(f"half a model of this plan has {sum(sizes)} bytes, not {len(data)}")
    parts, start = {}, 0
    for engine, size in zip(engines, sizes, strict=True):
        parts[engine] = data[start : start + size]
        start += size
    return Halves(
        ring.read_model_half(plan, params, n, parts["packed"]) if "packed" in parts else None,
        integers.read_model_half(plan, params, n, parts["textbook"]) if "textbook" in parts else None,
    )


def collect(pieces: Iterable[bytes]) -> bytes:
    """All data of a stream whose total is bounded by its reader."""
    return b"".join(pieces)
