"""Half gates: garbled equals plain on any program; single use; exact sizes; fresh secrets; unique tweaks."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.garbling.garbled import run_both, shapes
from tests.garbling.implementations import use
from twinveil.errors import AlreadyUsed, InvalidMessage
from twinveil.garbling import hashing, ideal
from twinveil.garbling.circuit import Counts, Program, count, flatten, split
from twinveil.garbling.evaluator import Evaluator, evaluate
from twinveil.garbling.garbler import Garbler, garble
from twinveil.garbling.gates import Gates, Wires
from twinveil.garbling.labels import random_labels, words
from twinveil.garbling.portable import Portable

Inputs = Mapping[str, Wires]
BLOCK, CHUNK = hashing.BLOCK, hashing.CHUNK


def every_gate(g: Gates, a: Inputs, b: Inputs) -> dict[str, Wires]:
    x, y = a["x"], b["y"]
    one, zero = g.constant(np.ones(x.shape, np.bool_)), g.constant(np.zeros((1, 1), np.bool_))
    return {
        "and": g.and_(x, y),
        "xor": g.xor(x, y),
        "not": g.invert(x),
        "or": g.invert(g.and_(g.invert(x), g.invert(y))),
        "self": g.and_(x, x),
        "none": g.and_(x, g.invert(x)),
        "and one": g.and_(x, one),
        "and zero": g.and_(zero, y),
        "constants": g.and_(one, g.invert(zero)),
        "constant": g.constant(np.array([True, False])),
        "input": x,
    }


def test_truth_tables_for_every_permute_bit() -> None:
    """All four inputs, with enough instances that each meets each pair of permute bits."""
    table = np.array(list(product([False, True], repeat=2))).repeat(200, axis=0)
    x, y = table[:, 0].reshape(1, -1), table[:, 1].reshape(1, -1)
    out = run_both(every_gate, {"x": x}, {"y": y})
    np.testing.assert_array_equal(out["and"], x & y)
    np.testing.assert_array_equal(out["or"], x | y)
    np.testing.assert_array_equal(out["and one"], x)
    assert not out["none"].any()
    assert not out["and zero"].any()
    assert out["constants"].all()


@pytest.mark.parametrize("instances", [0, 1, BLOCK, BLOCK + 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_instances_across_chunks(instances: int) -> None:
    rng = np.random.default_rng(instances)
    x, y = rng.integers(0, 2, (2, 1, instances)).astype(bool)
    run_both(every_gate, {"x": x}, {"y": y})


def test_operands_broadcast_and_need_not_be_contiguous() -> None:
    def program(g: Gates, a: Inputs, b: Inputs) -> dict[str, Wires]:
        x, y = a["x"], b["y"]
        return {
            "row": g.and_(x[:1], y),
            "strided": g.and_(x[:, ::2, :], y[::-1, ::2, ::-1]),
            "moved": g.xor(x.transpose(2, 0, 1), y.transpose(2, 0, 1)[::-1]),
            "inverted": g.invert(x[:, 1:, ::3]),
            "gathered": g.and_(x[:, [0, 0, 2]], y.take([2, 1, 0], axis=1)),
        }

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 2, (2, 4, 3, 5)).astype(bool)
    run_both(program, {"x": x}, {"y": y})


@st.composite
def programs(draw: st.DrawFn) -> tuple[int, int, list[tuple[str, int, int]]]:
    """Random straight-line programs: (garbler's inputs, evaluator's inputs, steps)."""
    own, other = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    first = own + other + 1
    steps = []
    for made in range(draw(st.integers(1, 25))):
        operation = draw(st.sampled_from(["and", "xor", "not", "one", "gather"]))
        pick = st.integers(0, first + made - 1)
        steps.append((operation, draw(pick), draw(pick)))
    return own, other, steps


@settings(max_examples=150, deadline=None)
@given(programs(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_random_programs(made: tuple[int, int, list[tuple[str, int, int]]], batch: int, random: Any) -> None:
    own, other, steps = made

    def program(g: Gates, a: Inputs, b: Inputs) -> dict[str, Wires]:
        wires = [*a.values(), *b.values(), g.constant(np.arange(2 * batch).reshape(2, batch) % 3 == 0)]
        for operation, left, right in steps:
            match operation:
                case "and":
                    wires.append(g.and_(wires[left], wires[right]))
                case "xor":
                    wires.append(g.xor(wires[left], wires[right]))
                case "not":
                    wires.append(g.invert(wires[left]))
                case "one":
                    wires.append(g.xor(wires[left], g.constant(np.ones((1, 1), np.bool_))))
                case _:
                    wires.append(np.concatenate([wires[left][1:, ::-1], wires[right][:1]]))
        return {f"out{place}": wire for place, wire in enumerate(wires)}

    def bits(party: str, number: int) -> dict[str, np.ndarray]:
        return {
            f"{party}{index}": np.array([random.random() < 0.5 for _ in range(2 * batch)]).reshape(2, batch)
            for index in range(number)
        }

    run_both(program, bits("a", own), bits("b", other))


def two_layers(g: Gates, a: Inputs, b: Inputs) -> dict[str, Wires]:
    return {"z": g.and_(g.and_(a["x"], b["y"]), g.invert(b["y"]))}


SHAPES = {"x": (3, 7)}, {"y": (3, 7)}


def message(program: Program = two_layers) -> tuple[dict[str, Any], Counts]:
    """Everything that `evaluate` gets, for inputs of zeros."""
    garbling = garble(program, *SHAPES)
    zeros = np.zeros((3, 7), np.bool_)
    labels = garbling.evaluator_pairs()[:, 0]
    sent = {
        "tables": garbling.tables,
        "garbler_labels": garbling.garbler_labels({"x": zeros}),
        "evaluator_labels": labels.tobytes(),
        "decode": garbling.decode,
    }
    return sent, garbling.counts


def test_counts_are_exact() -> None:
    sent, counts = message()
    assert counts == count(two_layers, *SHAPES)
    assert (counts.gates, counts.and_gates) == (2, 42)
    assert (counts.garbler_bits, counts.evaluator_bits, counts.output_bits) == (21, 21, 21)
    assert counts.table_bytes == len(sent["tables"]) == 16 + 32 * 42
    assert counts.garbler_label_bytes == len(sent["garbler_labels"]) == 16 * 21
    assert counts.decode_bytes == len(sent["decode"]) == 3


@pytest.mark.parametrize("field", ["tables", "garbler_labels", "evaluator_labels", "decode"])
@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"", lambda b: b + b])
def test_any_other_size_is_refused(field: str, change: Any) -> None:
    sent, _ = message()
    evaluate(two_layers, *SHAPES, **sent)
    with pytest.raises(InvalidMessage, match="bytes instead of"):
        evaluate(two_layers, *SHAPES, **sent | {field: change(sent[field])})


@pytest.mark.parametrize("field", ["tables", "garbler_labels", "evaluator_labels", "decode"])
def test_any_content_gives_some_output(field: str) -> None:
    sent, _ = message()
    for content in (bytes(len(sent[field])), os.urandom(len(sent[field])), b"\xff" * len(sent[field])):
        out = evaluate(two_layers, *SHAPES, **sent | {field: content})
        assert out["z"].shape == (3, 7)
        assert out["z"].dtype == np.bool_


def test_labels_leave_once() -> None:
    garbling = garble(two_layers, *SHAPES)
    zeros = np.zeros((3, 7), np.bool_)
    for wrong in ({}, {"x": zeros[:1]}, {"x": zeros.astype(int)}, {"x": zeros, "w": zeros}, {"w": zeros}):
        with pytest.raises(InvalidMessage):
            garbling.garbler_labels(wrong)
    garbling.garbler_labels({"x": zeros})
    with pytest.raises(AlreadyUsed):
        garbling.garbler_labels({"x": ~zeros})
    assert garbling.evaluator_pairs().shape == (21, 2, 16)
    with pytest.raises(AlreadyUsed):
        garbling.evaluator_pairs()


def test_a_program_that_changes_its_mind_is_refused() -> None:
    """Fewer gates than counted: never a circuit with unfilled tables."""
    counts = count(two_layers, *SHAPES)

    def lazy(g: Gates, a: Inputs, b: Inputs) -> dict[str, Wires]:
        return {"z": g.and_(a["x"], b["y"])}

    with pytest.raises(InvalidMessage, match="fewer gates"):
        garble(lazy, *SHAPES, counts)
    sent, _ = message()
    with pytest.raises(InvalidMessage, match="fewer gates"):
        evaluate(lazy, *SHAPES, **sent, counts=counts)


def test_wire_order_is_that_of_sorted_names() -> None:
    sizes = {"b": (2, 3), "a": (1, 2), "c": (1,)}
    bits = {
        name: np.random.default_rng(1).integers(0, 2, shape).astype(bool) for name, shape in sizes.items()
    }
    flat = flatten(sizes, bits)
    np.testing.assert_array_equal(flat, np.concatenate([bits[name].reshape(-1) for name in "abc"]))
    again = split(sizes, flat)
    assert shapes(again) == sizes
    assert all((again[name] == bits[name]).all() for name in sizes)


def test_delta_and_start_point_are_fresh_each_time() -> None:
    deltas, starts, zeros = set(), set(), set()
    for _ in range(50):
        garbling = garble(two_layers, *SHAPES)
        pairs = garbling.evaluator_pairs()
        differences = pairs[:, 0] ^ pairs[:, 1]
        assert (differences == differences[0]).all()
        assert differences[0, 0] & 1
        deltas.add(differences[0].tobytes())
        starts.add(garbling.tables[:16])
        zeros.update(label.tobytes() for label in pairs[:, 0])
    assert (len(deltas), len(starts), len(zeros)) == (50, 50, 50 * 21)


def test_permute_bits_of_inputs_are_balanced() -> None:
    """An active label shows a uniform bit, whatever it stands for."""
    many = garble(lambda g, a, b: {"z": b["y"]}, {}, {"y": (1, 20000)})
    ones = int((many.evaluator_pairs()[:, 0, 0] & 1).sum())
    assert abs(ones - 10_000) < 710  # ten standard deviations


def test_secrets_stay_out_of_repr_and_pickle() -> None:
    garbling = garble(two_layers, *SHAPES)
    backend = Garbler(os.urandom(16), np.zeros(0, np.uint64))
    reader = Evaluator(Portable(os.urandom(16)), np.zeros(0, np.uint64))
    assert repr(garbling) == "Garbling(42 AND gates)"
    assert repr(backend) == "Garbler(0 gates)"
    assert repr(reader) == "Evaluator(0 gates)"
    for secret in (garbling, backend, reader):
        with pytest.raises(TypeError):
            pickle.dumps(secret)


Ledger = list[tuple[int, bytes]]


def record(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """What each key encrypts from now on: the key as an integer, and 16 bytes."""
    ledger: Ledger = []
    use(monkeypatch, Portable)
    aes = hashing.aes

    def cipher(key: bytes) -> hashing.Encrypt:
        encrypt, number = aes(key), int.from_bytes(key, "little")

        def encrypt_and_write(plain: memoryview, out: memoryview) -> object:
            ledger.extend((number, plain[at : at + 16].tobytes()) for at in range(0, len(plain), 16))
            return encrypt(plain, out)

        return encrypt_and_write

    monkeypatch.setattr(hashing, "aes", cipher)
    return ledger


def test_no_key_and_tweak_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every AES call of a run is written down: one key a block of instances, nothing twice under a key."""
    ledger = record(monkeypatch)
    # Shared wires, constants, chains, and more instances than a chunk holds.
    instances = CHUNK + 100
    shape = (1, instances)

    def program(g: Gates, a: Inputs, b: Inputs) -> dict[str, Wires]:
        same = np.repeat(b["y"][:, :1], instances, axis=1)
        first = g.and_(same, same)
        second = g.and_(g.constant(np.ones(shape, np.bool_)), g.invert(same))
        chain = g.ripple(np.concatenate([same, second]), np.concatenate([first, same]), a["x"])
        return {"z": g.and_(g.xor(first, chain[-1:]), g.and_(second, b["y"]))}

    garbling = garble(program, {"x": shape}, {"y": shape})
    garbled, ands = list(ledger), garbling.counts.and_gates
    ledger.clear()
    zeros = np.zeros(shape, np.bool_)
    evaluate(
        program,
        {"x": shape},
        {"y": shape},
        garbling.tables,
        garbling.garbler_labels({"x": zeros}),
        garbling.evaluator_pairs()[:, 1],
        garbling.decode,
    )
    start = int.from_bytes(garbling.tables[:16], "little")
    assert ands == 6 * instances
    for seen, blocks in ((garbled, 4), (ledger, 2)):
        assert len(seen) == len(set(seen)) == blocks * ands
        used = Counter(key ^ start for key, _ in seen)
        assert used == {
            block: blocks * min(BLOCK, ands - block * BLOCK) for block in range(-(-ands // BLOCK))
        }


def test_tweaks_are_two_for_each_instance_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all labels 0 the second word of what AES gets is the tweak; calls go on counting instances."""
    seen = record(monkeypatch)
    sizes = (2 * CHUNK + 7, 1, 50)
    backend = Evaluator(Portable(bytes(16)), np.zeros(4 * sum(sizes), np.uint64))
    for size in sizes[:2]:
        wires = backend.constant(np.zeros((1, size), np.bool_))
        backend.and_(wires, wires)
    wires = backend.constant(np.zeros((1, 50), np.bool_))
    backend.ripple(wires, wires, wires[:1])
    assert backend.done
    assert sorted((key, int.from_bytes(block, "little") >> 64) for key, block in seen) == [
        (instance // BLOCK, 2 * (instance % BLOCK) + half)
        for instance in range(sum(sizes))
        for half in (0, 1)
    ]


def test_a_ripple_of_every_length_and_batch() -> None:
    """Every backend alike, against a majority bit by bit; more instances a row than a chunk, too."""
    rng = np.random.default_rng(0)
    for bits, batch in ((0, (3,)), (1, (5,)), (4, (2, 3)), (3, (0,)), (2, (CHUNK + 3,)), (9, (BLOCK,))):
        x, y = rng.integers(0, 2, (2, bits, *batch)).astype(bool)
        first = rng.integers(0, 2, (1, *batch)).astype(bool)
        out = run_both(
            lambda g, a, b: {"c": g.ripple(a["x"], b["y"], b["first"])}, {"x": x}, {"y": y, "first": first}
        )["c"]
        assert out.shape == (bits + 1, *batch)
        np.testing.assert_array_equal(out[0], first[0])
        for at in range(bits):
            majority = x[at].astype(int) + y[at] + out[at] >= 2
            np.testing.assert_array_equal(out[at + 1], majority)


def test_half_gates_against_the_papers_formulas() -> None:
    """One gate of one instance, step by step on 128-bit integers."""
    tables = np.zeros(4, np.uint64)
    start = os.urandom(16)
    backend = Garbler(start, tables)
    a, b = random_labels(1).reshape(1, 1), random_labels(1).reshape(1, 1)
    out = backend.and_(a, b)

    def number(labels: Wires) -> int:
        return int.from_bytes(words(labels).tobytes(), "little")

    def h(label: int, tweak: int) -> int:
        source = np.frombuffer(label.to_bytes(16, "little"), np.uint64).reshape(1, 2)
        return int.from_bytes(hashing.Hash(hashing.Keys(start)).labels(0, tweak, source).tobytes(), "little")

    a0, b0, delta = number(a), number(b), number(backend.invert(a)) ^ number(a)
    p_a, p_b = a0 & 1, b0 & 1
    generator = h(a0, 0) ^ h(a0 ^ delta, 0) ^ p_b * delta
    evaluation = h(b0, 1) ^ h(b0 ^ delta, 1) ^ a0
    zero = h(a0, 0) ^ p_a * generator ^ h(b0, 1) ^ p_b * (evaluation ^ a0)
    assert tables.tobytes() == generator.to_bytes(16, "little") + evaluation.to_bytes(16, "little")
    assert number(out) == zero


def test_ideal_transfer_picks_the_chosen_label() -> None:
    pairs = np.arange(4 * 32, dtype=np.uint8).reshape(4, 2, 16)
    chosen = ideal.transfer(pairs, np.array([False, True, True, False]))
    np.testing.assert_array_equal(chosen, pairs[[0, 1, 2, 3], [0, 1, 1, 0]])
