"""Base OTs: both choice bits, keys bound to everything, and points that must be refused."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest
from nacl import bindings as sodium

from twinveil.errors import AlreadyUsed, InvalidMessage
from twinveil.garbling import base_ot
from twinveil.garbling.base_ot import BASE_COUNT, POINT_BYTES, BaseReceiver, BaseSender, random_choices

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ALTERNATING = np.arange(BASE_COUNT) % 2 == 1


def encoded(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def decoded(point: bytes) -> tuple[int, int]:
    """Affine coordinates of an encoded point of edwards25519; ValueError if there is none."""
    value = int.from_bytes(point, "little")
    y, sign = value % (1 << 255), value >> 255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square:
        raise ValueError("not on the curve")
    return (P - x if x % 2 != sign else x), y


def plus(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P) % P
    return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P) % P


GOOD = sodium.crypto_scalarmult_ed25519_base_noclamp((7).to_bytes(32, "little"))
Y_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
X_MIXED, Y_MIXED = plus(decoded(GOOD), decoded(encoded(Y_ORDER_8)))

BAD_POINTS = {
    "identity": encoded(1),
    "identity with a sign": encoded(1, 1),
    "order 2": encoded(P - 1),
    "order 4": encoded(0),
    "order 4, other sign": encoded(0, 1),
    "order 8": encoded(Y_ORDER_8),
    "order 8, other sign": encoded(Y_ORDER_8, 1),
    "identity, not canonical": encoded(P + 1),
    "order 4, not canonical": encoded(P),
    "y above p": encoded(P + 3),
    "all ones": b"\xff" * 32,
    "off the curve": encoded(2),
    "prime order plus order 8": encoded(Y_MIXED, X_MIXED & 1),
}


def test_the_vectors_are_what_they_say() -> None:
    with pytest.raises(ValueError, match="not on the curve"):
        decoded(BAD_POINTS["off the curve"])
    point = decoded(encoded(Y_ORDER_8))
    powers = [point]
    for _ in range(7):
        powers.append(plus(powers[-1], point))
    assert powers.index((0, 1)) == 7
    decoded(BAD_POINTS["prime order plus order 8"])
    assert sodium.crypto_core_ed25519_is_valid_point(GOOD)


def run(session: bytes = b"session", choices: np.ndarray = ALTERNATING) -> tuple[BaseReceiver, np.ndarray]:
    sender = BaseSender(session)
    receiver = BaseReceiver(session, sender.first(), choices)
    return receiver, sender.keys(receiver.reply)


@pytest.mark.parametrize(
    "choices", [ALTERNATING, ~ALTERNATING, np.ones(BASE_COUNT, np.bool_), np.zeros(BASE_COUNT, np.bool_)]
)
def test_the_receiver_has_the_chosen_key_and_not_the_other(choices: np.ndarray) -> None:
    receiver, keys = run(choices=choices)
    assert keys.shape == (BASE_COUNT, 2, 16)
    assert receiver.keys.shape == (BASE_COUNT, 16)
    at = np.arange(BASE_COUNT)
    np.testing.assert_array_equal(keys[at, choices.astype(int)], receiver.keys)
    assert not (keys[at, 1 - choices.astype(int)] == receiver.keys).all(axis=1).any()
    assert len({key.tobytes() for key in keys.reshape(-1, 16)}) == 2 * BASE_COUNT


def test_keys_depend_on_the_session() -> None:
    sender = BaseSender(b"one")
    receiver = BaseReceiver(b"other", sender.first(), ALTERNATING)
    keys = sender.keys(receiver.reply)
    assert not (keys == receiver.keys[:, None]).all(axis=2).any()


def test_known_answer_of_the_key_derivation() -> None:
    secret = (5).to_bytes(32, "little")
    shared = base_ot._multiply(secret, GOOD)
    assert shared == sodium.crypto_scalarmult_ed25519_base_noclamp((35).to_bytes(32, "little"))
    key = base_ot._derive(b"s", GOOD, shared, 3, shared)
    text = b"twinveil base OT v1" + b"\1\0\0\0" + b"s" + GOOD + shared + b"\3\0\0\0" + shared
    assert key == hashlib.sha256(text).digest()[:16]
    assert key.hex() == "f0739872f433adf265e8420fbf81b046"


@pytest.mark.parametrize("name", BAD_POINTS)
def test_bad_points_are_refused_by_both_sides(name: str) -> None:
    bad = BAD_POINTS[name]
    with pytest.raises(InvalidMessage, match="outside the group"):
        BaseReceiver(b"session", bad, ALTERNATING)
    for place in (0, 77, BASE_COUNT - 1):
        sender = BaseSender(b"session")
        reply = bytearray(BaseReceiver(b"session", sender.first(), ALTERNATING).reply)
        reply[place * POINT_BYTES : (place + 1) * POINT_BYTES] = bad
        with pytest.raises(InvalidMessage, match="outside the group"):
            sender.keys(bytes(reply))
        with pytest.raises(AlreadyUsed):
            sender.keys(bytes(reply))


def test_the_first_message_as_a_reply_is_refused() -> None:
    """R = A would make one key a function of the identity."""
    sender = BaseSender(b"session")
    first = sender.first()
    reply = BaseReceiver(b"session", first, ALTERNATING).reply
    with pytest.raises(InvalidMessage, match="repeats"):
        sender.keys(reply[:-POINT_BYTES] + first)


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_first_messages_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(InvalidMessage, match="bytes"):
        BaseReceiver(b"session", (GOOD * 3)[:size], ALTERNATING)


@pytest.mark.parametrize(
    "change", [lambda r: r[:-1], lambda r: r + b"\0", lambda r: b"", lambda r: r + r[:32]]
)
def test_replies_of_another_size_are_refused(change: object) -> None:
    sender = BaseSender(b"session")
    reply = BaseReceiver(b"session", sender.first(), ALTERNATING).reply
    with pytest.raises(InvalidMessage, match="bytes"):
        sender.keys(change(reply))  # type: ignore[operator]


def test_each_message_once() -> None:
    sender = BaseSender(b"session")
    reply = BaseReceiver(b"session", sender.first(), ALTERNATING).reply
    with pytest.raises(AlreadyUsed):
        sender.first()
    sender.keys(reply)
    with pytest.raises(AlreadyUsed):
        sender.keys(reply)


def test_bad_sessions_and_choices_are_refused() -> None:
    for session in (b"", bytes(1025)):
        with pytest.raises(InvalidMessage):
            BaseSender(session)
    for choices in (ALTERNATING[:-1], ALTERNATING.astype(np.uint8), ALTERNATING.reshape(2, 64)):
        with pytest.raises(InvalidMessage):
            BaseReceiver(b"session", GOOD, choices)


def test_replies_hide_the_choice() -> None:
    """Every R is fresh: the same choices give other points, all in the prime-order subgroup."""
    seen = set()
    for _ in range(3):
        receiver, _ = run()
        points = {receiver.reply[at : at + 32] for at in range(0, len(receiver.reply), 32)}
        assert len(points) == BASE_COUNT
        assert not points & seen
        assert all(sodium.crypto_core_ed25519_is_valid_point(point) for point in points)
        seen |= points


def test_choices_are_random_bits() -> None:
    made = [random_choices() for _ in range(100)]
    assert all(bits.shape == (BASE_COUNT,) and bits.dtype == np.bool_ for bits in made)
    assert len({bits.tobytes() for bits in made}) == 100
    assert abs(int(np.sum(made)) - 6400) < 566  # ten standard deviations of 12,800 fair coins


def test_secrets_stay_out_of_repr_and_pickle() -> None:
    receiver, _ = run()
    for secret in (BaseSender(b"session"), receiver):
        assert "..." in repr(secret)
        with pytest.raises(TypeError):
            pickle.dumps(secret)
