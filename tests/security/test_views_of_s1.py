"""S1's view says nothing of zeros, divisors or ratios: neither in clients' halves nor in S2's messages."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import combinations
from math import gcd, isqrt

import numpy as np
import numpy.typing as npt
import pytest

from tests.crypto.crypto_keys import secret_key
from tests.security.chances import LIMIT, uniformity
from tests.security.peers import Watching
from tests.security.world import World, tiny_model, tiny_plan
from twinveil.halves.blinding import Blinding, blind, decode, picture_segment, segment
from twinveil.halves.blinding import pack as pack_values
from twinveil.params import Params

pytestmark = pytest.mark.slow

N = secret_key(512).public_key.n
PARAMS = Params(512, insecure_small_key=True)
SLACK = 60
"""A finding by chance has probability 2^-50 for each pair."""

FILLS = {"zero": (0.0, 0), "half zero": (0.5, 255), "full": (1.0, 255), "one": (1.0, 1)}


def values(fill: str, count: int, bits: int) -> npt.NDArray[np.uint64]:
    share, value = FILLS[fill]
    made = np.zeros(count, np.uint64)
    made[: int(share * count)] = min(value, (1 << bits) - 1)
    return made


def findings(halves: Sequence[int]) -> set[str]:
    """What S1 can try on a whole model's halves: zeros, repeats, common divisors, small ratios modulo N."""
    found = set()
    if 0 in halves:
        found.add("zero")
    if len(set(halves)) < len(halves):
        found.add("repeat")
    for a, b in combinations(halves, 2):
        if gcd(a, b) >> SLACK:
            found.add("common divisor")
        if has_small_ratio(a, b):
            found.add("ratio")
    return found


def has_small_ratio(a: int, b: int) -> bool:
    """Whether a / b = x / y modulo N with x y < N / 2^SLACK (Wang's rational reconstruction)."""
    if gcd(b, int(N)) != 1:
        return False
    low, high = (int(N), 0), (a * pow(b, -1, int(N)) % int(N), 1)
    bound = isqrt(int(N) >> SLACK)
    while high[0] > bound:
        quotient = low[0] // high[0]
        low, high = high, (low[0] - quotient * high[0], low[1] - quotient * high[1])
    return high[0] * abs(high[1]) < int(N) >> SLACK


def whole_model(fill: str, blinding: Blinding) -> list[int]:
    """S1's halves of 50 plaintexts of 8-bit values."""
    layout = segment("weights", blinding, 2800, 8, key_bits=512, sigma=40)
    blinded, _ = blind(pack_values(values(fill, layout.count, 8), layout), blinding, N)
    assert len(blinded) == 50
    return [int(each) for each in blinded]


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("blinding", Blinding)
def test_nothing_in_a_whole_models_halves(fill: str, blinding: Blinding) -> None:
    halves = whole_model(fill, blinding)
    assert not findings(halves)
    assert uniformity([half * 16 // int(N) for half in halves], 16) < LIMIT


@pytest.mark.parametrize("fill", FILLS)
def test_pictures_of_any_content_have_halves_alike(fill: str) -> None:
    layout = picture_segment(tiny_plan(), 64, key_bits=512, sigma=40)
    halves = [
        int(each)
        for _ in range(8)
        for each in blind(pack_values(values(fill, layout.count, 8), layout), layout.blinding, N)[0]
    ]
    assert not findings(halves)


class TestControls:
    """Blinding as published, value by value, is found out."""

    DIGIT = (0, 0, 0, 93, 201, 0, 0, 254, 11, 0, 77, 180, 0, 0, 255, 31)

    def test_a_fresh_factor_for_each_value(self) -> None:
        halves = [x * (secrets.randbelow(int(N) - 1) + 1) % int(N) for x in self.DIGIT]
        assert "zero" in findings(halves)
        assert [half == 0 for half in halves] == [x == 0 for x in self.DIGIT]

    def test_one_factor_for_all(self) -> None:
        factor = secrets.randbelow(int(N) - 1) + 1
        assert "ratio" in findings([x * factor % int(N) for x in self.DIGIT if x])

    def test_over_the_integers(self) -> None:
        factor = secrets.randbits(400)
        assert "common divisor" in findings([x * factor for x in self.DIGIT if x])

    def test_without_a_guard_bit(self) -> None:
        """An all-zero plaintext without the guard would be seen."""
        layout = segment("weights", Blinding.MULTIPLICATIVE, 2800, 8, key_bits=512, sigma=40)
        bare = [p - (1 << layout.packed_bits) for p in pack_values(values("zero", 2800, 8), layout)]
        assert "zero" in findings([int(each) for each in blind(bare, layout.blinding, N)[0]])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    for name, model in {"zero": tiny_model(0), "low": tiny_model(-128), "high": tiny_model(127)}.items():
        made.outsource(model, name=name)
    return made


def test_conversations_look_alike_whatever_is_in_them(world: World) -> None:
    """Kinds, sizes and order of all messages, and the share of ones in what S2 tells of the picture."""
    shapes, turns, plan = set(), list[bytes](), tiny_plan()
    for name in ("zero", "low", "high"):
        for fill in FILLS:
            while world.queries1.stock.give_way():
                """The item is the first of its conversation: numbers are as long as they are large."""
            watched: list[Watching] = []
            world.wrap = lambda inner, kept=watched: kept.append(Watching(inner)) or kept[-1]  # type: ignore
            image = values(fill, 9, 8).reshape(plan.image_shape).astype(np.uint8)
            world.ask(world.query(plan, image, name=name))
            assert [peer.kind for peer in watched] == ["open_items", "spend"]
            shapes.add(tuple(each for peer in watched for each in peer.shape()))
            turns += [each.shared_turn.shares for each in watched[1].replies]
    assert len(shapes) == 1
    bits = b"".join(turns)
    ones = sum(byte.bit_count() for byte in bits) * 2 - 8 * len(bits)
    # 12 conversations; words end at whole bytes, so that some bits are always 0.
    assert abs(ones) < 6 * (8 * len(bits)) ** 0.5 + 12 * 8 * len(turns) / 12


def test_halves_of_any_picture_are_alike(world: World) -> None:
    """m and d xor m: every byte of either is anything."""
    for fill in FILLS:
        image = values(fill, 9, 8).reshape(1, 3, 3).astype(np.uint8)
        sent = [world.query(tiny_plan(), image, name="zero") for _ in range(60)]
        for halves in ([each.s1.half for each in sent], [each.s2.half for each in sent]):
            assert uniformity([byte >> 4 for half in halves for byte in half], 16) < LIMIT
        assert all(
            (
                np.frombuffer(each.s1.half, np.uint8) ^ np.frombuffer(each.s2.half, np.uint8)
                == image.reshape(-1)
            ).all()
            for each in sent
        )


def test_zero_counts_of_clients_numbers_are_constant(world: World) -> None:
    """No half that decodes has a zero, for any picture of the textbook engine."""
    layout = picture_segment(tiny_plan(), 1, key_bits=world.params.key_bits, sigma=world.params.sigma)
    for fill in FILLS:
        image = values(fill, 9, 8).reshape(1, 3, 3).astype(np.uint8)
        sent = world.query(tiny_plan(), image, name="zero", engine="textbook")
        for half in (sent.s1.half, sent.s2.half):
            assert all(decode(half, layout, world.public.n))
