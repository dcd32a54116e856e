"""A test-only engine: Twinveil with one mistake each, made where somebody would make it.

Every mistake is a context manager; within it both clouds run as always and their views are recorded as
always. Nothing of this is in the library.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.crypto import nonces
from twinveil.crypto.native.residues import Residues
from twinveil.crypto.nonces import Encryptor, FreshCiphertexts, Rerandomiser
from twinveil.crypto.slots import draw
from twinveil.garbling import ahead, ot_extension, outputs, products
from twinveil.garbling.ot_extension import ExtensionReceiver
from twinveil.halves import blinding, integers, ring
from twinveil.halves.blinding import Blinding, Segment
from twinveil.protocol.packed import masking
from twinveil.protocol.packed.item import s2 as item_s2
from twinveil.protocol.packed.item.s1 import ItemS1, MakerS1
from twinveil.protocol.packed.item.s2 import ItemS2
from twinveil.protocol.packed.item.shelves import Reservation
from twinveil.protocol.packed.layout import ItemLayout
from twinveil.protocol.textbook import s1 as textbook_s1
from twinveil.protocol.textbook.exchange import Exchange
from twinveil.protocol.textbook.model import s1 as model_s1
from twinveil.protocol.textbook.query import s1 as query_s1
from twinveil.protocol.textbook.s1 import TextbookS1
from twinveil.ring import Words, modulo, uniform
from twinveil.rounds.observer import Masking
from twinveil.rpc import rounds_pb2 as pb

Once = TypeVar("Once")


def _no_bits(bits: int, count: int, top: int = 0) -> npt.NDArray[np.bool_]:
    return np.zeros((bits + top, count), bool)


@contextmanager
def patched(*changes: tuple[object, str, object]) -> Iterator[None]:
    with ExitStack() as stack:
        for where, name, what in changes:
            stack.enter_context(mock.patch.object(where, name, what))
        yield


def _zeros(shape: tuple[int, ...], bits: int) -> Words:
    return np.zeros(shape, np.uint64)


def _seeded(shape: tuple[int, ...], bits: int) -> Words:
    """The same every time, and perfectly random each time."""
    return np.random.default_rng([bits, *shape]).integers(0, 1 << bits, shape, dtype=np.uint64)


def _twin(once: Once) -> Once:
    """What serves once, once more."""
    made = object.__new__(type(once))
    made.__dict__.update(once.__dict__)
    return made


@contextmanager
def zero_u() -> Iterator[None]:
    """e = x - r: S1, who knows r, opens x."""
    with patched((item_s2, "uniform", _zeros)):
        yield


@contextmanager
def one_u_for_all_pictures() -> Iterator[None]:
    """S1, who knows r, opens the difference of two pictures."""
    with patched((item_s2, "uniform", _seeded)):
        yield


@contextmanager
def zero_rho() -> Iterator[None]:
    """S2 chooses 0 in every transfer: S1's inputs of the circuits are the picture and the sums."""

    class Idle(ExtensionReceiver):
        def prepare(self, count: int) -> bytes:
            with patched((ot_extension, "secrets", NoRandomness)):
                return super().prepare(count)

    with patched((item_s2, "ExtensionReceiver", Idle)):
        yield


@contextmanager
def no_nonces() -> Iterator[None]:
    """E(u) is 1 + u N, for everybody to read."""

    def bare(self: Encryptor, plaintexts: Sequence[mpz], **_: object) -> FreshCiphertexts:
        key = self.public_key
        return FreshCiphertexts(nonces._MINT, key.modulus().residues([key.raw(m) for m in plaintexts]))

    def made(*given: Any) -> Any:
        return SimpleNamespace(encrypt=partial(bare, Encryptor(*given)))

    with patched((item_s2, "Encryptor", made)):
        yield


@contextmanager
def zero_r() -> Iterator[None]:
    """S2 gets x out of every circuit."""
    kept: dict[str, deque[Words]] = {}

    def share(garbler: Any, wires: Any, widths: Mapping[str, int]) -> tuple[bytes, dict[str, Words]]:
        sent, masks = outputs.share(garbler, wires, widths)
        for name in widths:
            kept.setdefault(name, deque()).append(masks[name])
            masks[name] = np.zeros_like(masks[name])
        return sent, masks

    def read(evaluator: Any, wires: Any, widths: Mapping[str, int], received: Any) -> dict[str, Words]:
        found = outputs.read(evaluator, wires, widths, received)
        return found | {
            name: modulo(found[name] + kept[name].popleft(), bits) for name, bits in widths.items()
        }

    with patched((ahead, "share", share), (ahead, "read", read), (products, "uniform", _zeros)):
        yield


@contextmanager
def fixed_seed() -> Iterator[None]:
    """Every picture gets the same r, which looks perfectly random."""
    with patched((products, "uniform", _seeded)):
        yield


@contextmanager
def one_mask_for_many() -> Iterator[None]:
    """All pixels share an r, a fresh one each time."""

    def same(shape: tuple[int, ...], bits: int) -> Words:
        return np.broadcast_to(uniform((1,), bits), shape).copy()

    with patched((products, "uniform", same)):
        yield


@contextmanager
def items_used_twice() -> Iterator[None]:
    """Every picture of a model spends the same item."""
    honest = MakerS1.make
    made: dict[int, ItemS1] = {}

    def make(self: MakerS1) -> ItemS1:
        return made.setdefault(id(self), made.get(id(self)) or honest(self))

    def spend(self: Any) -> tuple[Any, ...]:
        circuits, *tensors = self._held
        return ([_twin(each) for each in circuits], *(dict(each) for each in tensors))

    def burn(self: Reservation) -> list[ItemS2]:
        items = [item for item, _ in self._taken.values()]
        self.release()
        return items

    spending = [(item, "spend", spend) for item in (ItemS1, ItemS2)]
    with patched((MakerS1, "make", make), (Reservation, "burn", burn), *spending):
        yield


@contextmanager
def zero_sum_masks() -> Iterator[None]:
    """S2 decrypts bare sums, and in an import bare weights."""
    with patched((masking, "draw", lambda count, bits: [mpz(0)] * count)):
        yield


@contextmanager
def short_sum_masks() -> Iterator[None]:
    """Masks of sums lack their top bits: the uppermost sums are nearly bare."""
    with patched((masking, "draw", lambda count, bits: draw(count, bits - 60))):
        yield


@contextmanager
def six_bits_of_slack() -> Iterator[None]:
    """Masks of sums are six bits longer than the sums; both clouds believe that this is enough."""
    with patched((ItemLayout, "margin", 6)):
        yield


@contextmanager
def pictures_in_clear() -> Iterator[None]:
    """The user draws m = 0."""
    with patched((ring, "uniform", _zeros)):
        yield


@contextmanager
def zero_picture_mask() -> Iterator[None]:
    """Of a textbook query S2 decrypts the packed picture as it is."""
    with patched((query_s1, "random_bits", _no_bits)):
        yield


@contextmanager
def zero_import_masks() -> Iterator[None]:
    """Of a textbook import S2 decrypts the packed weights as they are, and gets them out of the circuit."""
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

    @staticmethod
    def token_bytes(count: int) -> bytes:
        return bytes(count)


@contextmanager
def zero_textbook_masks() -> Iterator[None]:
    """S2 decrypts bare values and bare factors."""
    with patched((textbook_s1, "secrets", NoRandomness)):
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

    def stale(
        self: Rerandomiser, values: Residues | Sequence[mpz], *_: object, **__: object
    ) -> FreshCiphertexts:
        made = values if isinstance(values, Residues) else self.public_key.modulus().residues(values)
        return FreshCiphertexts(nonces._MINT, made)

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

    read = [(module, "decode", trusting) for module in (ring, integers)]
    cut = [(module, "segment", alone) for module in (blinding, ring)]
    with patched((blinding, "pack", bare), *cut, *read):
        yield
