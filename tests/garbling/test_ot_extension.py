"""OT extension: both choice bits, in order and once, exact sizes, known answers, pads that nobody repeats."""

from __future__ import annotations

import hashlib
import os
import pickle
from functools import partial

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.garbling.garbled import run_garbled
from tests.garbling.implementations import use
from twinveil.errors import InvalidMessage, OutOfOrder
from twinveil.garbling import gadgets, hashing, ideal, ot_extension
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.bits import from_bits, to_bits
from twinveil.garbling.circuit import flatten
from twinveil.garbling.hashing import BLOCK, Encrypt, Hash, Keys
from twinveil.garbling.ot_extension import (
    ExtensionReceiver,
    ExtensionSender,
    correction_bytes,
    masked_bytes,
    prepare_bytes,
)
from twinveil.garbling.portable import Portable

SESSION = b"session"


def pair(session: bytes = SESSION) -> tuple[ExtensionReceiver, ExtensionSender]:
    """Both sides over ideal base OTs."""
    keys = np.frombuffer(os.urandom(128 * 32), np.uint8).reshape(128, 2, 16)
    s = random_choices()
    return ExtensionReceiver(keys, session), ExtensionSender(ideal.transfer(keys, s), s, session)


def prepared(count: int) -> tuple[ExtensionReceiver, ExtensionSender]:
    receiver, sender = pair()
    sender.accept(receiver.prepare(count), count)
    return receiver, sender


def random_pairs(count: int) -> np.ndarray:
    return np.frombuffer(os.urandom(32 * count), np.uint8).reshape(count, 2, 16)


def random_bits(count: int) -> np.ndarray:
    return np.frombuffer(os.urandom(count), np.uint8) > 127


def exchange(receiver: ExtensionReceiver, sender: ExtensionSender, choice_bits: np.ndarray) -> None:
    pairs = random_pairs(len(choice_bits))
    corrections = receiver.correct(choice_bits)
    assert len(corrections) == correction_bytes(len(choice_bits))
    masked = sender.send(pairs, corrections)
    assert len(masked) == masked_bytes(len(choice_bits))
    got = receiver.receive(masked)
    np.testing.assert_array_equal(got, ideal.transfer(pairs, choice_bits))
    other = ideal.transfer(pairs, ~choice_bits)
    assert not (got == other).all(axis=1).any()
    # Neither string goes out as it is.
    on_the_wire = np.frombuffer(masked, np.uint8).reshape(pairs.shape)
    assert not (on_the_wire == pairs).all(axis=2).any()


@pytest.mark.parametrize("count", [1, 7, 8, 9, 127, 128, 129, 1000, 40_000])
def test_the_chosen_string_arrives(count: int) -> None:
    for choice_bits in (random_bits(count), np.zeros(count, np.bool_), np.ones(count, np.bool_)):
        exchange(*prepared(count), choice_bits)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=12))
def test_any_order_of_preparing_and_using(steps: list[tuple[bool, int]]) -> None:
    receiver, sender = pair()
    left = 0
    for prepare, count in steps:
        if prepare:
            if count:
                u = receiver.prepare(count)
                assert len(u) == prepare_bytes(count)
                sender.accept(u, count)
                left += count
        elif count <= left:
            exchange(receiver, sender, random_bits(count))
            left -= count
        else:
            with pytest.raises(OutOfOrder):
                receiver.correct(random_bits(count))
            with pytest.raises(OutOfOrder):
                sender.send(random_pairs(count), bytes(correction_bytes(count)))
        assert receiver.available == sender.available == left


def test_answers_come_in_the_order_of_the_corrections() -> None:
    receiver, sender = prepared(30)
    choices, pairs = [random_bits(10), random_bits(20)], [random_pairs(10), random_pairs(20)]
    corrections = [receiver.correct(bits) for bits in choices]
    masked = [sender.send(strings, d) for strings, d in zip(pairs, corrections, strict=True)]
    for strings, bits, message in zip(pairs, choices, masked, strict=True):
        np.testing.assert_array_equal(receiver.receive(message), ideal.transfer(strings, bits))


def test_through_real_base_ots_into_a_garbled_circuit() -> None:
    base_sender, s = BaseSender(SESSION), random_choices()
    base_receiver = BaseReceiver(SESSION, base_sender.first(), s)
    receiver = ExtensionReceiver(base_sender.keys(base_receiver.reply), SESSION)
    sender = ExtensionSender(base_receiver.keys, s, SESSION)
    v, r = np.arange(-128, 128), np.arange(256)[::-1].copy()
    bits = {"v": to_bits(v, 9)}
    sender.accept(receiver.prepare(9 * 256), 9 * 256)

    def transfer(pairs: np.ndarray, choice_bits: np.ndarray) -> np.ndarray:
        np.testing.assert_array_equal(choice_bits, flatten({"v": (9, 256)}, bits))
        return receiver.receive(sender.send(pairs, receiver.correct(choice_bits)))

    out = run_garbled(
        lambda g, a, b: {"z": gadgets.add_mask(g, gadgets.relu_requantise(g, b["v"], 1, 6), a["r"])},
        {"r": to_bits(r, 12)},
        bits,
        transfer,
    )
    np.testing.assert_array_equal(from_bits(out["z"]), ideal.relu_requantise(v, 1, 6) + r)


def test_an_index_is_used_once() -> None:
    receiver, sender = prepared(10)
    corrections = receiver.correct(random_bits(10))
    with pytest.raises(OutOfOrder, match="0 are prepared"):
        receiver.correct(random_bits(1))
    masked = sender.send(random_pairs(10), corrections)
    with pytest.raises(OutOfOrder, match="0 are prepared"):
        sender.send(random_pairs(10), corrections)
    receiver.receive(masked)
    with pytest.raises(OutOfOrder, match="no oblivious transfer waits"):
        receiver.receive(masked)


def test_pads_and_streams_never_repeat() -> None:
    """Over several `prepare`: all pads differ, and u, which the same choices would repeat, does not."""
    receiver, sender = pair()
    pads, columns = set(), set()
    for count in (5, 128, 200, 1):
        u = receiver.prepare(count)
        columns.update(row.tobytes() for row in np.frombuffer(u, np.uint8).reshape(128, -1)[:, :1])
        sender.accept(u, count)
        masked = sender.send(np.zeros((count, 2, 16), np.uint8), receiver.correct(random_bits(count)))
        pads.update(masked[at : at + 16] for at in range(0, len(masked), 16))
    assert len(pads) == 2 * (5 + 128 + 200 + 1)


def test_keys_never_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key is one block's, in one `prepare` of one session."""
    used: list[bytes] = []
    aes = hashing.aes

    def recorded(key: bytes) -> Encrypt:
        used.append(key)
        return aes(key)

    use(monkeypatch, Portable)
    monkeypatch.setattr(hashing, "aes", recorded)
    for session in (b"one", b"two"):
        receiver, _ = pair(session)
        for count in (5, BLOCK, 2 * BLOCK + 200, 1):
            receiver.prepare(count)
    assert len(used) == len(set(used)) == 2 * 6


def test_corrections_hide_the_choice_bits() -> None:
    receiver, _ = prepared(40_000)
    ones = np.unpackbits(np.frombuffer(receiver.correct(np.ones(40_000, np.bool_)), np.uint8)).sum()
    assert abs(int(ones) - 20_000) < 1000  # ten standard deviations


def test_random_transfers_as_they_are_share_the_row_with_chosen_ones() -> None:
    receiver, sender = prepared(100)
    for count in (0, 1, 30):
        choices, pads = receiver.take(count)
        both = sender.take(count)
        assert choices.shape == pads.shape == (count,)
        chosen = ideal.transfer(both.view(np.uint8).reshape(count, 2, 16), choices)
        np.testing.assert_array_equal(pads.view(np.uint8).reshape(count, 16), chosen)
        assert not (both[:, 0] == both[:, 1]).any()
        exchange(receiver, sender, random_bits(7))
    for side in (receiver, sender):
        with pytest.raises(OutOfOrder, match="48 are prepared"):
            side.take(49)
        assert side.available == 48


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"", lambda b: b + b])
def test_any_other_size_is_refused_and_uses_nothing(change: object) -> None:
    receiver, sender = pair()
    u = receiver.prepare(20)
    with pytest.raises(InvalidMessage):
        sender.accept(change(u), 20)  # type: ignore[operator]
    sender.accept(u, 20)
    choice_bits, pairs = random_bits(20), random_pairs(20)
    corrections = receiver.correct(choice_bits)
    with pytest.raises(InvalidMessage):
        sender.send(pairs, change(corrections))  # type: ignore[operator]
    masked = sender.send(pairs, corrections)
    with pytest.raises(InvalidMessage):
        receiver.receive(change(masked))  # type: ignore[operator]
    np.testing.assert_array_equal(receiver.receive(masked), ideal.transfer(pairs, choice_bits))


@pytest.mark.parametrize("count", [0, -1, ot_extension.COUNT_MAX + 1])
def test_counts_have_a_limit(count: int) -> None:
    receiver, sender = pair()
    with pytest.raises(InvalidMessage):
        receiver.prepare(count)
    with pytest.raises(InvalidMessage):
        sender.accept(b"", count)


def test_bad_arrays_are_refused() -> None:
    keys = np.zeros((128, 2, 16), np.uint8)
    s = np.zeros(128, np.bool_)
    receiver, sender = prepared(8)
    for call in (
        partial(ExtensionReceiver, keys[:, :, :15], SESSION),
        partial(ExtensionReceiver, keys.astype(np.int64), SESSION),
        partial(ExtensionSender, keys, s, SESSION),
        partial(ExtensionSender, keys[:, 0], s[:-1], SESSION),
        partial(ExtensionSender, keys[:, 0], s.astype(np.uint8), SESSION),
        partial(receiver.correct, np.zeros(8, np.uint8)),
        partial(receiver.correct, np.zeros((2, 4), np.bool_)),
        partial(sender.send, np.zeros((8, 2, 15), np.uint8), b"\0"),
        partial(sender.send, np.zeros((8, 2, 16), np.int8), b"\0"),
    ):
        with pytest.raises(InvalidMessage):
            call()
    assert receiver.available == sender.available == 8


def test_any_content_gives_some_strings() -> None:
    receiver, sender = pair()
    receiver.prepare(20)
    sender.accept(os.urandom(prepare_bytes(20)), 20)
    receiver.correct(random_bits(20))
    sender.send(random_pairs(20), b"\xff" * 3)
    assert receiver.receive(os.urandom(masked_bytes(20))).shape == (20, 16)


def test_known_answers() -> None:
    """With fixed seeds: pads by a reference one OT at a time, and pinned."""
    keys = np.arange(128 * 32, dtype=np.uint32).astype(np.uint8).reshape(128, 2, 16)
    keys[:, 0, 0] = np.arange(128)
    s = np.arange(128) % 3 == 0
    sender = ExtensionSender(ideal.transfer(keys, s), s, SESSION)
    sender.accept(bytes(range(128)) * 2, 16)
    sender.accept(bytes(range(128, 256)), 8)
    masked = sender.send(np.zeros((24, 2, 16), np.uint8), bytes(3))
    for place, index, u in ((0, 0, bytes(range(128)) * 2), (15, 15, bytes(range(128)) * 2)):
        assert masked[32 * place : 32 * place + 32] == reference_pads(ideal.transfer(keys, s), s, u, 2, index)
    # The second stretch starts at the next whole block of transfers.
    assert masked[-32:] == reference_pads(ideal.transfer(keys, s), s, bytes(range(128, 256)), 1, 7, BLOCK)
    assert masked[:32].hex() == "0305eb2094bdeb2ed10186a72b6aee0c0b33d3cbf402f6b4226a66feea9eec83"
    assert masked[-32:].hex() == "eda02b8c50fe800a4d8c734b44403f65b2bca00d65c42a7b79d6c1e909a8999a"


def reference_pads(
    keys: np.ndarray, s: np.ndarray, u: bytes, row_bytes: int, at: int, first: int = 0
) -> bytes:
    """Both pads of OT number first + at: rows q^i bit by bit, then the hash of one label."""
    q = 0
    for i in range(128):
        cipher = Cipher(algorithms.AES(keys[i].tobytes()), modes.CTR((first // 128).to_bytes(16, "big")))
        stream = cipher.encryptor().update(bytes(row_bytes))
        bit = stream[at // 8] >> at % 8 & 1
        q |= (bit ^ int(s[i]) & u[row_bytes * i + at // 8] >> at % 8 & 1) << i
    delta = sum(1 << i for i in range(128) if s[i])
    start = hashlib.sha256(b"twinveil OT extension v1" + SESSION).digest()[:16]
    index = first + at
    labels = [
        np.frombuffer(label.to_bytes(16, "little"), np.uint64).reshape(1, 2) for label in (q, q ^ delta)
    ]
    return b"".join(Hash(Keys(start)).labels(index, 0, label).tobytes() for label in labels)


def test_secrets_stay_out_of_repr_and_pickle() -> None:
    receiver, sender = prepared(8)
    assert repr(receiver) == "ExtensionReceiver(8 left)"
    assert repr(sender) == "ExtensionSender(8 left)"
    for secret in (receiver, sender):
        with pytest.raises(TypeError):
            pickle.dumps(secret)
