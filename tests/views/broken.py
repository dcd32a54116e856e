"""A test-only engine: Twinveil with one mistake each, made where somebody would make it.

Every mistake is a context manager; within it both clouds run as always and their views are recorded as
always. Nothing of this is in the library.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from unittest import mock

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.crypto import nonces, packing
from twinveil.crypto.nonces import FreshCiphertexts, Rerandomiser
from twinveil.halves import blinding
from twinveil.halves import model as halves_of_model
from twinveil.halves.blinding import Blinding, Segment
from twinveil.protocol.textbook.engine import Exchange
from twinveil.protocol.textbook.model import s1 as model_s1
from twinveil.protocol.packed import layout
from twinveil.protocol.packed import s1 as packed_s1
from twinveil.protocol.query import s1 as query_s1
from twinveil.protocol.textbook import s1 as textbook_s1
from twinveil.protocol.textbook.s1 import TextbookS1
from twinveil.rounds.observer import Masking
from twinveil.rpc import rounds_pb2 as pb

Words = npt.NDArray[np.uint64]


def _no_bits(bits: int, count: int, top: int = 0) -> npt.NDArray[np.bool_]:
    return np.zeros((bits + top, count), bool)


@contextmanager
def patched(*changes: tuple[object, str, object]) -> Iterator[None]:
    with ExitStack() as stack:
        for where, name, what in changes:
            stack.enter_context(mock.patch.object(where, name, what))
        yield


@contextmanager
def zero_shares() -> Iterator[None]:
    """x2 = x: S1's share of every activation is 0."""

    def nothing(shape: tuple[int, ...], bits: int) -> Words:
        return np.zeros(shape, np.uint64)

    with patched((packed_s1, "uniform", nothing)):
        yield


@contextmanager
def zero_sum_masks() -> Iterator[None]:
    """S2 decrypts bare sums."""

    def nothing(
        count: int, slots: int, slot_bytes: int, mask_bits: int, offset: int = 0
    ) -> tuple[list[mpz], Words]:
        shift = packing.pack_wide([[offset] * slots], slot_bytes)[0]
        return [shift] * count, np.full((count, slots), offset, np.uint64)

    with patched((packed_s1, "draw_masks", nothing)):
        yield


@contextmanager
def zero_picture_mask() -> Iterator[None]:
    """S2 decrypts the packed picture as it is."""

    with patched((query_s1, "random_bits", _no_bits)):
        yield


@contextmanager
def zero_import_masks() -> Iterator[None]:
    """S2 decrypts a model's packed weights as they are, and gets the weights out of the circuit."""

    with patched((model_s1, "random_bits", _no_bits)):
        yield


class NoRandomness:
    """Stands for the module secrets."""

    @staticmethod
    def randbits(_: int) -> int:
        return 0

    @staticmethod
    def randbelow(_: int) -> int:
        return 0


@contextmanager
def zero_textbook_masks() -> Iterator[None]:
    """S2 decrypts bare values and bare factors."""
    with patched((textbook_s1, "secrets", NoRandomness)):
        yield


@contextmanager
def fixed_seed() -> Iterator[None]:
    """Every query draws the same masks, each of which looks perfectly random."""

    def seeded(shape: tuple[int, ...], bits: int) -> Words:
        source = np.random.default_rng([bits, *shape])
        return source.integers(0, 1 << bits, shape, dtype=np.uint64)

    with patched((packed_s1, "uniform", seeded)):
        yield


@contextmanager
def one_mask_for_many() -> Iterator[None]:
    """All values of a tensor share a mask, a fresh one each time."""
    fresh = packed_s1.uniform

    def same(shape: tuple[int, ...], bits: int) -> Words:
        return np.broadcast_to(fresh((1,), bits), shape).copy()

    with patched((packed_s1, "uniform", same)):
        yield


@contextmanager
def six_bits_of_slack() -> Iterator[None]:
    """Masks of online sums are six bits longer than the sums; both clouds believe that this is enough."""
    honest = layout._slots

    def short(sum_bits: int, negative: bool, margin: int, plaintext_bits: int, what: str) -> layout.Slots:
        return honest(sum_bits, negative, margin if negative else 6, plaintext_bits, what)

    with patched((layout, "_slots", short)):
        yield


@contextmanager
def sign_test_by_product() -> Iterator[None]:
    """The published gap filled the wrong way: S2 decrypts r x, r random and positive, and reads its sign.

    A constant keeps negative products in S2's range, so that the rest runs as always.
    """
    honest = TextbookS1._mask

    def product(
        self: TextbookS1, exchange: Exchange, values: Sequence[mpz], masking: Masking
    ) -> tuple[pb.Round, Words]:
        before_the_record = masking.offset and any(values[0] is each[0] for each in self._tensors.values())
        if not before_the_record:
            return honest(self, exchange, values, masking)
        middle = 1 << (masking.bits - 1)
        scaled = [self._arithmetic.scale(value, 1 + secrets.randbits(30)) for value in values]
        fresh = self._rerandomiser.freshen_fully(
            self._key.add_plain(scaled, [middle] * len(scaled), self._tally)
        )
        reply = exchange.ask(pb.Round(masked_sums=pb.MaskedSums(ciphertexts=fresh.to_bytes())))
        return reply, np.full(len(values), middle & (2**64 - 1), np.uint64)

    with patched((TextbookS1, "_mask", product)):
        yield


@contextmanager
def no_rerandomisation() -> Iterator[None]:
    """What S1 sends carries the nonces that S2 made, or powers of them."""

    def stale(self: Rerandomiser, values: Sequence[mpz], *_: object, **__: object) -> FreshCiphertexts:
        return FreshCiphertexts(nonces._MINT, self.public_key.modulus().residues(values))

    with patched((Rerandomiser, "freshen", stale), (Rerandomiser, "freshen_fully", stale)):
        yield


@contextmanager
def unpacked_products() -> Iterator[None]:
    """The published x·M: one value a plaintext, no guard. A product is 0 exactly where the pixel is."""

    def alone(name: str, kind: Blinding, count: int, bits: int, **_: int) -> Segment:
        return Segment(name, kind, count, bits, 1)

    def bare(values: Words, _: Segment) -> list[mpz]:
        return [mpz(int(value)) for value in values]

    def trusting(data: bytes, _: Segment, n: mpz) -> list[mpz]:
        width = blinding.half_bytes(n)
        return [mpz(int.from_bytes(data[at : at + width], "big")) for at in range(0, len(data), width)]

    read = [(module, "decode", trusting) for module in (blinding, halves_of_model)]
    with patched((blinding, "segment", alone), (blinding, "pack", bare), *read):
        yield
