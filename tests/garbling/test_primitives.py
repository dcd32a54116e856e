"""One contract, both implementations: layers against the paper's formulas on integers, one gate at a time."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.garbling.implementations import IMPLEMENTATIONS, here, instance_hash, integers, label_words
from twinveil.errors import BadConfiguration
from twinveil.garbling import primitives as module
from twinveil.garbling.hashing import BLOCK, CHUNK
from twinveil.garbling.labels import Words, random_labels, words
from twinveil.garbling.native.gates import Native
from twinveil.garbling.portable import Portable
from twinveil.garbling.primitives import Primitives, describe, implementation, right
from twinveil.native import VARIABLE

Numbers = list[int]

LABELS = st.one_of(st.integers(0, 2**128 - 1), st.sampled_from([0, 1, 2**64 - 1, 2**64, 2**128 - 1]))


@pytest.fixture(params=IMPLEMENTATIONS)
def made(request: pytest.FixtureRequest) -> type[Primitives]:
    return here(request.param)


def garbled_gate(start: bytes, at: int, a: int, b: int, delta: int) -> tuple[int, int, int]:
    """T_G, T_E and C0 of instance `at`: ePrint 2014/756, as garbler.py has it."""
    h = partial(instance_hash, start, at)
    generator = h(0, a) ^ h(0, a ^ delta) ^ (b & 1) * delta
    own = h(1, b) ^ h(1, b ^ delta) ^ a
    return generator, own, h(0, a) ^ (a & 1) * generator ^ h(1, b) ^ (b & 1) * (own ^ a)


def opened_gate(start: bytes, at: int, a: int, b: int, generator: int, own: int) -> int:
    h = partial(instance_hash, start, at)
    return h(0, a) ^ (a & 1) * generator ^ h(1, b) ^ (b & 1) * (own ^ a)


def room(count: int, more: int = 0) -> tuple[Words, Words]:
    """Tables and labels to fill."""
    return np.zeros((2, count, 2), np.uint64), np.zeros((count + more, 2), np.uint64)


FIRSTS = st.one_of(st.integers(0, 3 * BLOCK), st.integers(0, 1 << 40))
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(st.binary(min_size=16, max_size=16), FIRSTS, LABELS, st.lists(st.tuples(LABELS, LABELS), max_size=20))
def test_a_layer_is_the_papers(
    made: type[Primitives], start: bytes, first: int, offset: int, pairs: list[tuple[int, int]]
) -> None:
    delta, under_test = offset | 1, made(start)
    zeros, others = ([pair[place] for pair in pairs] for place in (0, 1))
    tables, out = room(len(pairs))
    under_test.garble(first, label_words([delta])[0], label_words(zeros), label_words(others), tables, out)
    expected = [garbled_gate(start, first + at, *pair, delta) for at, pair in enumerate(pairs)]
    assert integers(tables) == [each[0] for each in expected] + [each[1] for each in expected]
    assert integers(out) == [each[2] for each in expected]
    for x, y in ((0, 0), (0, 1), (1, 0), (1, 1)):
        a, b = [each ^ x * delta for each in zeros], [each ^ y * delta for each in others]
        active = room(len(pairs))[1]
        under_test.open(first, label_words(a), label_words(b), tables, active)
        gates = zip(a, b, expected, strict=True)
        assert integers(active) == [
            opened_gate(start, first + at, *labels, *tables[:2]) for at, (*labels, tables) in enumerate(gates)
        ]
        assert integers(active) == [each[2] ^ (x & y) * delta for each in expected]


@FEW
@given(
    st.integers(0, 9),
    st.integers(0, 5),
    FIRSTS,
    st.randoms(use_true_random=False),
)
def test_a_ripple_is_its_gates(
    made: type[Primitives], bits: int, batch: int, first: int, random: Any
) -> None:
    start, delta = os.urandom(16), random.getrandbits(128) | 1
    under_test = made(start)
    x, y = ([random.getrandbits(128) for _ in range(bits * batch)] for _ in range(2))
    carries = [random.getrandbits(128) for _ in range(batch)]
    tables, zeros = room(bits * batch, batch)
    zeros[:batch] = label_words(carries)
    under_test.garble_ripple(first, label_words([delta])[0], label_words(x), label_words(y), tables, zeros)
    generators, owns, expected = [], [], list(carries)
    for at, (left, right_) in enumerate(zip(x, y, strict=True)):
        t_g, t_e, zero = garbled_gate(start, first + at, left ^ right_, left ^ expected[at], delta)
        generators.append(t_g)
        owns.append(t_e)
        expected.append(zero ^ left)
    assert integers(tables) == generators + owns
    assert integers(zeros) == expected
    # All bits are 1: so are all carries, if the first are.
    active = np.zeros_like(zeros)
    active[:batch] = label_words([carry ^ delta for carry in carries])
    ones = [label_words([each ^ delta for each in numbers]) for numbers in (x, y)]
    under_test.open_ripple(first, *ones, tables, active)
    assert integers(active) == [each ^ delta for each in expected]


@pytest.mark.parametrize("count", [0, 1, 2, 3, BLOCK - 1, BLOCK, BLOCK + 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
@pytest.mark.parametrize("first", [0, 1, BLOCK - 1])
def test_layers_of_every_size_are_alike(count: int, first: int) -> None:
    """The two against each other: whole blocks, parts of them, more than a chunk."""
    start, delta = os.urandom(16), words(random_labels(1))[0]
    x, y = words(random_labels(count)), words(random_labels(count))
    answers = []
    for each in (here(Native)(start), Portable(start)):
        tables, zeros = room(count)
        each.garble(first, delta, x, y, tables, zeros)
        active = np.zeros_like(zeros)
        each.open(first, x, y, tables, active)
        answers.append((tables, zeros, active))
    for left, right_ in zip(*answers, strict=True):
        np.testing.assert_array_equal(left, right_)


@pytest.mark.parametrize(("bits", "batch"), [(1, CHUNK + 3), (5, 7), (300, 1), (40, 3), (9, BLOCK), (3, 0)])
def test_ripples_of_every_size_are_alike(bits: int, batch: int) -> None:
    start, delta, count = os.urandom(16), words(random_labels(1))[0], bits * batch
    x, y, carries = words(random_labels(count)), words(random_labels(count)), words(random_labels(batch))
    answers = []
    for each in (here(Native)(start), Portable(start)):
        tables, zeros = room(count, batch)
        zeros[:batch] = carries
        active = zeros.copy()
        each.garble_ripple(77, delta, x, y, tables, zeros)
        each.open_ripple(77, x, y, tables, active)
        answers.append((tables, zeros, active))
    for left, right_ in zip(*answers, strict=True):
        np.testing.assert_array_equal(left, right_)


def test_labels_that_are_not_side_by_side_are_hashed(made: type[Primitives]) -> None:
    labels, start = words(random_labels(20)), os.urandom(16)
    np.testing.assert_array_equal(
        made(start).hash(3, 1, labels[::2]), made(start).hash(3, 1, labels[::2].copy())
    )


@pytest.mark.parametrize("size", [0, 1, 15, 16, 127, 128, 129, 1000])
@pytest.mark.parametrize("counter", [0, 1, 255, (1 << 40) - 3])
def test_streams_are_aes_in_counter_mode(made: type[Primitives], size: int, counter: int) -> None:
    keys = words(random_labels(5)).view(np.uint8).reshape(5, 16)
    streams = made.streams(keys, counter, size)
    assert streams.shape == (5, size)
    for row, key in zip(streams, keys, strict=True):
        cipher = Cipher(algorithms.AES(key.tobytes()), modes.CTR(counter.to_bytes(16, "big")))
        assert row.tobytes() == cipher.encryptor().update(bytes(size))


@pytest.mark.parametrize("size", [1, 3, 16, 4095, 4096, 4097, 9000])
def test_transpose(made: type[Primitives], size: int) -> None:
    rows = np.frombuffer(os.urandom(128 * size), np.uint8).reshape(128, size)
    bits = np.unpackbits(rows, axis=1, bitorder="little")
    np.testing.assert_array_equal(made.transpose(rows), np.packbits(bits.T, axis=1, bitorder="little"))


def test_secrets_stay_out_of_repr_and_pickle(made: type[Primitives]) -> None:
    secret = made(b"start point here")
    assert repr(secret) == f"{made.__name__}(...)"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


ONE, TWO, START = bytes(16), bytes(32), bytes(16)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("hash_labels", (256, 0, 0, START, ONE, 32)),
        ("hash_labels", (256, 0, 0, START[:15], ONE, 16)),
        ("hash_labels", (256, 0, 0, START, ONE[:15], 15)),
        ("hash_labels", (256, 0, 2, START, ONE, 16)),
        ("hash_labels", (0, 0, 0, START, ONE, 16)),
        ("hash_labels", (256, 1 << 63, 0, START, ONE, 16)),
        ("hash_labels", (256, 0, 0, START, ONE)),
        ("garble_layer", (256, 0, 0, START, ONE, ONE, ONE, 32, 32)),
        ("garble_layer", (256, 0, 0, START, ONE, ONE, ONE, 16, 16)),
        ("garble_layer", (256, 0, 0, START, ONE, ONE, TWO, 32, 16)),
        ("garble_layer", (256, 0, 0, START, TWO, ONE, ONE, 32, 16)),
        ("garble_layer", (256, 0, 1, START, ONE, ONE, ONE, 32, 16)),
        ("garble_layer", (256, 0, 1, START, ONE, ONE, ONE, 32, 48)),
        ("garble_layer", (256, 0, 1, START, ONE, TWO, TWO, 64, 16)),
        ("garble_layer", (256, 0, 1, START, ONE, TWO, TWO, 64, 33)),
        ("open_layer", (256, 0, 0, START, ONE, ONE, ONE, 16)),
        ("open_layer", (256, 0, 0, START, ONE, ONE, TWO, 17)),
        ("open_layer", (256, 0, 1, START, ONE, ONE, TWO, 16)),
        ("stream", (0, ONE[:15], 16)),
        ("stream", (0, TWO, 15)),
        ("stream", (0, b"", 15)),
        ("stream", (1 << 62, ONE, 16)),
        ("transpose", (bytes(128), 127)),
        ("transpose", (bytes(127), 127)),
        ("transpose", (bytes(128), 129)),
    ],
)
def test_what_does_not_fit_is_refused(name: str, arguments: tuple[Any, ...]) -> None:
    """A number at the end stands for a buffer of so many bytes; nothing is written to it."""
    here(Native)
    from twinveil.garbling.native import _gates

    outputs = {"garble_layer": 2}.get(name, 1)
    written = [bytearray(size) if isinstance(size, int) else size for size in arguments[-outputs:]]
    before = [bytes(each) for each in written]
    with pytest.raises(ValueError, match=r"\w"):
        getattr(_gates, name)(*arguments[:-outputs], *written)
    assert [bytes(each) for each in written] == before


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((256, -1, 0, START, ONE, bytearray(16)), OverflowError),
        ((256, 1 << 64, 0, START, ONE, bytearray(16)), OverflowError),
        ((256, "0", 0, START, ONE, bytearray(16)), TypeError),
        ((256, 0, 0, START, ONE, ONE), BufferError),
        ((256, 0, 0, START, "label", bytearray(16)), TypeError),
        ((256, 0, 0, START, np.zeros(64, np.uint8)[::2], bytearray(32)), ValueError),
    ],
)
def test_what_is_no_number_or_buffer_is_refused(arguments: tuple[Any, ...], error: type[Exception]) -> None:
    here(Native)
    from twinveil.garbling.native import _gates

    with pytest.raises(error):
        _gates.hash_labels(*arguments)


@pytest.fixture
def _anew() -> Iterator[None]:
    implementation.cache_clear()
    yield
    implementation.cache_clear()


class Wrong(Portable):
    """One bit of what an operation gives is wrong."""

    operation = ""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name != Wrong.operation:
            return found

        def wrong(*arguments: Any) -> Any:
            result = found(*arguments)
            filled = arguments[-1] if result is None else result
            filled[(-1,) * filled.ndim] ^= 1
            return result

        return wrong


@pytest.mark.parametrize(
    "operation", ["hash", "garble", "garble_ripple", "open", "open_ripple", "streams", "transpose"]
)
def test_the_self_test_sees_every_operation(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    assert right(Portable)
    monkeypatch.setattr(Wrong, "operation", operation)
    assert not right(Wrong)


@pytest.mark.usefixtures("_anew")
@pytest.mark.parametrize("wish", ["auto", "required", "ifma", "avx2"])
def test_what_is_native_is_used(monkeypatch: pytest.MonkeyPatch, wish: str) -> None:
    here(Native)
    monkeypatch.setenv(VARIABLE, wish)
    assert implementation() is Native
    assert describe() == "native"


@pytest.mark.usefixtures("_anew")
def test_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "off")
    assert implementation() is Portable
    assert describe() == f"portable ({VARIABLE} is off)"


@pytest.mark.usefixtures("_anew")
@pytest.mark.parametrize(("built", "why"), [(False, "install a C compiler"), (True, "processor has no AES")])
def test_nothing_native(monkeypatch: pytest.MonkeyPatch, built: bool, why: str) -> None:
    monkeypatch.setattr(module, "BUILT", built)
    monkeypatch.setattr(module, "SUPPORTED", False)
    monkeypatch.setenv(VARIABLE, "auto")
    assert implementation() is Portable
    assert why in describe()
    implementation.cache_clear()
    monkeypatch.setenv(VARIABLE, "required")
    with pytest.raises(BadConfiguration, match=why):
        implementation()


@pytest.mark.usefixtures("_anew")
def test_what_fails_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    here(Native)
    monkeypatch.setattr(module, "right", lambda tried: False)
    monkeypatch.setenv(VARIABLE, "auto")
    with caplog.at_level(logging.WARNING):
        assert implementation() is implementation() is Portable
    assert [each.getMessage() for each in caplog.records] == [
        "native garbling fails its self-test and is not used"
    ]
    implementation.cache_clear()
    monkeypatch.setenv(VARIABLE, "required")
    with pytest.raises(BadConfiguration, match="fails its self-test"):
        implementation()
