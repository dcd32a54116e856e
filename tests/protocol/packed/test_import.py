"""A model as shares modulo 2^L, without a circuit: exact for an honest owner, total for every other."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given, settings

from tests.crypto.crypto_keys import secret_key, toy
from tests.networks import random_model, small_icnn_model, tiny_models
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.default import default_plan
from tests.protocol.packed.test_layout import wide
from twinveil.crypto import nonces
from twinveil.crypto.slots import pack as pack_slots
from twinveil.errors import InvalidMessage
from twinveil.garbling.ot_extension import prepare_bytes
from twinveil.halves.blinding import COUNT_BITS, decode, encode, half_bytes, offset_binary, pack
from twinveil.halves.ring import (
    blind_model,
    kernel_segments,
    picture_bytes,
    read_model_half,
    read_picture_halves,
    share_pictures,
)
from twinveil.network.plan import Plan, QuantisedModel
from twinveil.params import PACKED_SIGMA
from twinveil.protocol.packed import masking
from twinveil.protocol.packed.geometry import placed
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.ring import modulo
from twinveil.rounds.observer import Blind, Masking

KEY = 512


def check(clouds: Opened) -> None:
    """Both clouds' shares are the owner's model, and E(K2) is S2's share in its layout."""
    assert wrong_layers(clouds) == []


def wrong_layers(clouds: Opened) -> list[str]:
    model, layout, wrong = clouds.model, clouds.plan.layout, []
    for node in model.plan.linear_nodes:
        name, ring = node.name, node.accumulator_bits
        for shares, want in (
            ((clouds.of_s1.kernels, clouds.of_s2.kernels), model.weights),
            ((clouds.of_s1.biases, clouds.of_s2.biases), model.biases),
        ):
            joined = modulo(shares[0][name] + shares[1][name], ring)
            if (joined != modulo(want[name].view(np.uint64), ring)).any():
                wrong.append(name)
        layer = layout.layers[name]
        plaintexts = []
        for chunk in range(layer.kernel.chunks):
            plaintexts += pack_slots(
                placed(clouds.of_s2.kernels[name], layer.kernel.weights(chunk), ring), layer.slots.bits
            )
        if clouds.secret.decrypt(clouds.of_s1.encrypted[name]) != plaintexts:
            wrong.append(f"E(K2) of {name}")
    return wrong


@pytest.mark.parametrize("seed", range(4))
def test_a_random_network(seed: int) -> None:
    check(Opened(random_model(seed), (320, 512, 768, 512)[seed]))


def test_a_narrow_icnn() -> None:
    check(Opened(small_icnn_model(3)))


@given(tiny_models())
@settings(max_examples=8, deadline=None)
def test_any_network(model: QuantisedModel) -> None:
    check(Opened(model, 400))


@pytest.mark.parametrize("value", [-128, 127, 0, -1])
def test_extreme_weights(value: int) -> None:
    model = small_icnn_model(1)
    weights = {name: np.full_like(each, value) for name, each in model.weights.items()}
    check(Opened(QuantisedModel(model.plan, weights, model.biases)))


# A bad owner: whatever it sends, both clouds hold some K modulo 2^L, nothing is raised, and it is the K that
# the plaintext's digits are where the plaintext keeps to the layout.


def crafted(plan: Plan, made: Callable[[int, mpz], tuple[mpz, mpz]]) -> tuple[bytes, bytes]:
    """Halves of an owner that makes (A, M^-1) of its kernels' plaintexts by itself; biases are 0."""
    n, width = secret_key(KEY).public_key.n, half_bytes(secret_key(KEY).public_key.n)
    halves = [b"", b""]
    for segment in kernel_segments(plan, KEY).values():
        for pair in [made(index, n) for index in range(segment.plaintexts)]:
            for side in (0, 1):
                halves[side] += encode([pair[side]], width)
    empty = blind_model(_zero(plan), toy(KEY), n)
    tail = len(empty[0]) - len(halves[0])
    return halves[0] + bytes(tail), halves[1] + bytes(tail)


def _zero(plan: Plan) -> QuantisedModel:
    nodes = plan.linear_nodes
    weights = {node.name: np.zeros(plan.weight_shape(node), np.int64) for node in nodes}
    biases = {node.name: np.zeros(plan.weight_shape(node)[0], np.int64) for node in nodes}
    return QuantisedModel(plan, weights, biases)


def _any(index: int, n: mpz) -> tuple[mpz, mpz]:
    return mpz(1 + secrets.randbelow(int(n) - 1)), mpz(1 + secrets.randbelow(int(n) - 1))


CRAFTED: dict[str, Callable[[int, mpz], tuple[mpz, mpz]]] = {
    "one": lambda index, n: (mpz(1), mpz(1)),
    "P = N - 1": lambda index, n: (n - 1, mpz(1)),
    "P = N - 1 the other way": lambda index, n: (mpz(1), n - 1),
    "P above every slot": lambda index, n: (mpz(1) << (KEY - 2), mpz(1)),
    "every spare bit": lambda index, n: ((mpz(1) << 300) - 1, mpz(1)),
    "anything": _any,
    "mixed": lambda index, n: _any(index, n) if index % 2 else (n - 1, n - 1),
}


@pytest.mark.parametrize("what", CRAFTED)
def test_any_halves_give_some_model(what: str) -> None:
    model = random_model(5)
    clouds = Opened(model, KEY, halves=crafted(model.plan, CRAFTED[what]))
    for node in model.plan.linear_nodes:
        for shares in (clouds.of_s1.kernels, clouds.of_s2.kernels):
            assert shares[node.name].shape == model.plan.weight_shape(node)
            assert not (shares[node.name] >> np.uint64(node.accumulator_bits)).any()


def test_zero_as_a_half_is_total_behind_the_check_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """decode refuses A = 0; were it to pass, or be a multiple of a factor, nothing would be raised either."""
    model = random_model(5)
    p = secret_key(KEY)._p
    for bad in (mpz(0), p, 2 * p):
        halves = crafted(model.plan, lambda index, n, bad=bad: (bad, bad or n - 1))
        with monkeypatch.context() as patch:
            patch.setattr("twinveil.halves.ring.decode", lambda data, segment, n: _lenient(data, n))
            Opened(model, KEY, halves=halves)
        if not bad:
            with pytest.raises(InvalidMessage, match="out of range"):
                Opened(model, KEY, halves=halves)


def _lenient(data: bytes, n: mpz) -> list[mpz]:
    width = half_bytes(n)
    return [mpz(int.from_bytes(data[at : at + width], "big")) for at in range(0, len(data), width)]


def test_blinded_plaintexts_are_the_owners() -> None:
    """P keeps a spare bit above each weight and a guard above all: A M^-1 = P mod N."""
    model, n = random_model(2), secret_key(KEY).public_key.n
    mine, theirs = (
        read_model_half(model.plan, toy(KEY), n, half) for half in blind_model(model, toy(KEY), n)
    )
    for node in model.plan.linear_nodes:
        segment = kernel_segments(model.plan, KEY)[node.name]
        values = offset_binary(model.weights[node.name], node.weight_bits)
        assert segment.bits == node.weight_bits + 1
        assert [
            a * m % n for a, m in zip(mine.kernels[node.name], theirs.kernels[node.name], strict=True)
        ] == pack(values, segment)


@pytest.mark.parametrize("cut", [1, -1])
def test_halves_of_another_size_are_refused(cut: int) -> None:
    model, n = random_model(2), secret_key(KEY).public_key.n
    half = blind_model(model, toy(KEY), n)[0]
    with pytest.raises(InvalidMessage, match="half a model of this plan has"):
        read_model_half(model.plan, toy(KEY), n, half[:-1] if cut < 0 else half + b"0")


def test_a_picture_is_two_xor_shares_of_exactly_its_bits() -> None:
    plan = random_model(3, image_bits=5).plan
    image = np.random.default_rng(0).integers(0, 32, plan.image_shape, np.uint8)
    first, second = share_pictures(image[None], plan)
    assert len(first) == len(second) == picture_bytes(plan) == -(-image.size * 5 // 8)
    (mine,), (theirs,) = (read_picture_halves(plan, 1, half) for half in (first, second))
    assert (mine ^ theirs == image).all()
    assert first != share_pictures(image[None], plan)[0]
    with pytest.raises(InvalidMessage, match="1 half pictures have"):
        read_picture_halves(plan, 1, first + b"0")


# What hides a plaintext, and what keeps values apart.


class Seen(Blind):
    """What S2 decrypts of an import, with the mask that it is said to have."""

    def __init__(self) -> None:
        self.plaintexts: list[tuple[mpz, int]] = []

    def decrypted(self, name: str, plaintexts: Sequence[mpz], masking: Masking | None) -> None:
        self.plaintexts += [(each, masking.bits if masking else 0) for each in plaintexts]


def narrow(patch: pytest.MonkeyPatch) -> set[str]:
    """Masks of an import against the owner's plaintexts, and nonces against what they are to be."""
    seen, drawn, asked = Seen(), list[mpz](), set[int]()
    draw, randbits = masking.draw, nonces.secrets.randbits

    def drawing(count: int, bits: int) -> list[mpz]:
        made = draw(count, bits)
        drawn.extend(made)
        return made

    class Random:
        @staticmethod
        def randbits(bits: int) -> int:
            asked.add(bits)
            return randbits(bits)

    patch.setattr(masking, "draw", drawing)
    patch.setattr(nonces, "secrets", Random)
    clouds, found = Opened(small_icnn_model(3), KEY, observer=lambda role: seen), set()
    widths = []
    for node in clouds.model.plan.linear_nodes:
        segment = clouds.layouts.packed.segments[node.name]
        widths += [segment.packed_bits] * segment.plaintexts
    for mask, (z, bits), packed in zip(drawn, seen.plaintexts, widths, strict=True):
        if not 1 << packed <= z - mask < 2 << packed:
            found.add("not an owner's plaintext and its mask")
        if bits < packed + 1 + PACKED_SIGMA + COUNT_BITS or mask.bit_length() < bits - 24:
            found.add("a narrow mask")
    if asked != {KEY + 64 + COUNT_BITS, 2 * 128 + 40}:
        found.add("short nonces")
    return found


def test_masks_and_nonces_of_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    assert narrow(monkeypatch) == set()


def test_broken_with_masks_that_are_too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = masking.draw
    monkeypatch.setattr(masking, "draw", lambda count, bits: draw(count, bits - 40))
    assert narrow(monkeypatch) == {"a narrow mask"}


def test_broken_with_short_nonces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinveil.protocol.packed.model.s2.MORE_TOWARDS_S1", 0)
    assert narrow(monkeypatch) == {"short nonces"}


def test_broken_without_a_spare_bit_above_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinveil.halves.ring.SPARE_BITS", 0)
    assert wrong_layers(Opened(small_icnn_model(3)))


# Bytes of an import, by the layout alone.


def bytes_a_weight(plan: Plan, key_bits: int, layer: str = "") -> tuple[float, float]:
    """From S1 to S2, and back: ciphertexts, transfers and words of one import, or of one layer, by weight."""
    layout = ModelLayout(plan, key_bits)
    sent = received = weights = 0
    for node in plan.linear_nodes:
        if layer not in ("", node.name):
            continue
        sheet, kernel = layout.sheet(node), layout.item.layers[node.name].kernel
        blinded = len(sheet.outputs) * key_bits // 4
        sent += blinded + prepare_bytes(sheet.transfers) + -(-sheet.transfers // 8)
        received += blinded + sheet.word_bytes + kernel.chunks * kernel.bases * key_bits // 4
        weights += sheet.values
    return sent / weights, received / weights


@pytest.mark.parametrize("key_bits", [2048, 3072])
@pytest.mark.parametrize(("channels", "kernel"), [(64, 1), (64, 3), (128, 3), (256, 1)])
def test_wide_layers_take_at_most_30_bytes_a_weight_each_way(
    channels: int, kernel: int, key_bits: int
) -> None:
    assert max(bytes_a_weight(wide(channels, 8, kernel), key_bits, "conv")) <= 30


def test_the_formula_of_bytes_is_what_is_sent() -> None:
    clouds = Opened(small_icnn_model(3))
    sent, received = bytes_a_weight(clouds.model.plan, KEY)
    weights = sum(each.size for each in clouds.model.weights.values())
    asked, answered = (sum(message.ByteSize() for message in clouds.messages[side::2]) for side in (0, 1))
    assert 0 <= asked - sent * weights < 400
    assert 0 <= answered - received * weights < 200 + 128 * 32


def test_a_million_weights_have_a_layout() -> None:
    assert max(bytes_a_weight(wide(330, 8, 3), 2048, "conv")) <= 30


def test_decode_is_what_reads_kernels() -> None:
    n = secret_key(KEY).public_key.n
    segment = kernel_segments(random_model(2).plan, KEY)["dense"]
    with pytest.raises(InvalidMessage):
        decode(encode([n] * segment.plaintexts, half_bytes(n)), segment, n)


@pytest.mark.parametrize(("key_bits", "most"), [(2048, 200), (3072, 250)])
def test_the_default_network_is_imported_in_few_bytes(key_bits: int, most: int) -> None:
    assert max(bytes_a_weight(default_plan(), key_bits)) <= most
