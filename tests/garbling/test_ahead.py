"""Circuits ahead: outputs equal the program's in the clear, shares are uniform and tell nothing."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.garbling.garbled import session
from tests.garbling.halves import Inputs, Values, activation, halves, offered, product
from tests.garbling.implementations import use
from twinveil.garbling import garbler
from twinveil.garbling.ahead import Circuit, GarblerHalf, Offer
from twinveil.garbling.bits import from_bits, to_bits
from twinveil.garbling.circuit import run_plain
from twinveil.garbling.gadgets import greater
from twinveil.garbling.gates import Gates, Wires
from twinveil.garbling.hashing import Hash
from twinveil.garbling.labels import words, xor_all
from twinveil.garbling.ot_extension import ExtensionSender
from twinveil.garbling.outputs import Integers
from twinveil.garbling.portable import Portable
from twinveil.ring import modulo, unpack_words


def rebuilt(circuit: Circuit, made: GarblerHalf, opened: Values) -> Values:
    """The outputs, of both halves' shares."""
    widths = circuit.widths
    return {
        name: modulo(share + made.masks[name], widths[name]) if name in widths else share ^ made.masks[name]
        for name, share in opened.items()
    }


def in_the_clear(circuit: Circuit, masked: Values, drawn: Values) -> Values:
    """The ideal twin: the same program on bits."""
    bits = [
        {name: to_bits(side[name], shape[0]) for name, shape in circuit.inputs.items()}
        for side in (masked, drawn)
    ]
    plain = {name: from_bits(wires) for name, wires in run_plain(circuit.program, *bits).items()}
    return {name: modulo(value, circuit.widths.get(name, 64)) for name, value in plain.items()}


def uniform(circuit: Circuit) -> Values:
    """Masked values as S1 sees them."""
    rng = np.random.default_rng(secrets.randbits(64))
    return {
        name: rng.integers(0, 1 << bits, batch, dtype=np.uint64)
        for name, (bits, *batch) in circuit.inputs.items()
    }


def check(circuit: Circuit, masked: Values | None = None) -> None:
    made, held = halves(circuit)
    masked = masked or uniform(circuit)
    opened = held.open(made.answer(masked))
    result, expected = rebuilt(circuit, made, opened), in_the_clear(circuit, masked, held.drawn)
    assert set(result) == set(expected) == set(made.masks)
    for name, value in expected.items():
        np.testing.assert_array_equal(result[name], value, err_msg=name)
        for share in (opened[name], made.masks[name]):
            assert share.dtype == np.uint64
            assert share.shape == value.shape
            np.testing.assert_array_equal(share, modulo(share, circuit.widths.get(name, 64)))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_activation(data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, 31))
    batch = tuple(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)))
    shift, kept = data.draw(st.integers(0, bits - 1)), data.draw(st.integers(1, 8))
    circuit = activation(bits, batch, shift, kept, data.draw(st.integers(1, 64)))
    edges = st.sampled_from([0, 1, (1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) - 1]) | st.integers(
        0, (1 << bits) - 1
    )
    count = int(np.prod(batch))
    values = data.draw(st.lists(edges, min_size=count, max_size=count))
    check(circuit, {"y": np.array(values, np.uint64).reshape(batch)})


@pytest.mark.parametrize("width", [1, 7, 8, 9, 19, 22, 31, 33, 63, 64])
@pytest.mark.parametrize("batch", [(1,), (256,), (300,), (3, 5, 2)])
def test_every_width_at_the_edges_of_blocks(width: int, batch: tuple[int, ...]) -> None:
    check(activation(9, batch, 1, 8, width))


def test_more_wires_than_a_chunk_and_several_inputs() -> None:
    def program(g: Gates, masked: Inputs, drawn: Inputs) -> dict[str, Wires]:
        a, b = (g.xor(masked[name], drawn[name]) for name in ("a", "b"))
        return {"z": g.and_(a, b), "larger": greater(g, a, b), "a": a}

    check(Circuit(program, {"b": (8, 9000), "a": (8, 9000)}, {"z": 20, "a": 13}))


def test_constants_inputs_and_one_wire_twice_as_outputs() -> None:
    def program(g: Gates, masked: Inputs, drawn: Inputs) -> dict[str, Wires]:
        ones = g.constant(np.ones((3, 50), np.bool_))
        return {"one": ones, "flag": ones, "input": masked["a"], "again": masked["a"], "own": drawn["a"]}

    check(Circuit(program, {"a": (3, 50)}, {"one": 5, "input": 6, "again": 7}))


def test_no_output_shared_or_none_at_all() -> None:
    check(Circuit(lambda g, m, d: {"z": g.and_(m["a"], d["a"])}, {"a": (3, 50)}, {}))
    check(Circuit(lambda g, m, d: {}, {"a": (3, 50)}, {}))


def balanced(share: Integers, width: int) -> bool:
    """Every bit is 1 half the time, within ten standard deviations, and no value is usual."""
    ones = to_bits(share, width).reshape(width, -1).sum(axis=1)
    most = np.unique(share, return_counts=True)[1].max()
    return bool((abs(ones - share.size / 2) < 5 * share.size**0.5).all()) and most <= 20


def test_both_shares_are_uniform_whatever_the_value() -> None:
    width, size = 19, 20_000
    made, offer, held = offered(product(size, width))
    opened = held.open(made.answer({"a": np.zeros(size, np.uint64)}))
    assert not rebuilt(product(size, width), made, opened)["z"].any()
    assert balanced(made.masks["z"], width)
    assert balanced(opened["z"], width)
    assert balanced(unpack_words(offer.words, 8 * size, width), width)


def test_masks_that_are_the_bits_of_the_labels_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twin without a hash: shares are right, and sums of labels that S2 has."""
    use(monkeypatch, Portable)
    monkeypatch.setattr(
        "twinveil.garbling.hashing.Hash.labels", lambda self, first, half, labels: labels.copy()
    )
    width, size = 19, 20_000
    circuit = Circuit(
        lambda g, m, d: {"z": g.constant(np.zeros((8, size), np.bool_))}, {"a": (8, size)}, {"z": width}
    )
    _, sender = session(circuit.transfers)
    assert not balanced(circuit.garble(sender).masks["z"], width)


def test_flipped_outputs_are_uniform_to_both() -> None:
    size = 20_000
    made, held = halves(product(size))
    opened = held.open(made.answer({"a": np.zeros(size, np.uint64)}))
    np.testing.assert_array_equal(opened["z"], made.masks["z"])
    ones = to_bits(opened["z"], 8).sum(axis=1)
    assert (abs(ones - size / 2) < 5 * size**0.5).all()


def same_masks() -> bool:
    """Whether two outputs of one wire have a mask in common, or a mask comes again."""
    circuit = product(50, 30, ("a", "b"))
    masks = [mask for _ in range(2) for mask in halves(circuit)[0].masks.values()]
    return len(np.unique(masks)) < 4 * 50


def test_every_output_has_its_own_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not same_masks()
    # A twin that counts no instances, as if a tweak could serve twice.
    use(monkeypatch, Portable)
    labels = Hash.labels
    monkeypatch.setattr(Hash, "labels", lambda hash_, first, half, own: labels(hash_, 0, half, own))
    assert same_masks()


def offsets(made: int, patched: Callable[[ExtensionSender], None] = lambda sender: None) -> list[bytes]:
    """The transfers' own offset, and the offset of each of several circuits that take them."""
    circuit = activation(5, (3,), 0, 4, 7)
    _, sender = session(made * circuit.transfers)
    patched(sender)
    return [sender._s.tobytes(), *(circuit.garble(sender)._delta.tobytes() for _ in range(made))]


def test_every_circuit_has_its_own_offset_and_none_is_the_transfers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(set(offsets(5))) == 6

    def reuse(sender: ExtensionSender) -> None:
        """A twin in which W xor Delta = H(q xor s) is to be had without a word."""
        own, random_labels = sender._s, garbler.random_labels

        def drawn(count: int) -> np.ndarray:
            return own.view("V16").copy() if count == 1 else random_labels(count)

        monkeypatch.setattr(garbler, "random_labels", drawn)

    assert len(set(offsets(5, reuse))) <= 3


def labels_in(offer: Offer, answer: bytes, delta: np.ndarray) -> bool:
    """Whether what goes ahead holds a label of S1's wires, or the pad of one of S2's."""
    ahead = {part[at : at + 16] for part in offer[:2] for at in range(0, len(part), 16)}
    active = np.frombuffer(answer, "V16")
    both = [*active, *xor_all(active, delta)]
    return any(label.tobytes() in ahead for label in both)


def test_no_label_of_s1_goes_ahead() -> None:
    circuit = activation(5, (30,), 0, 4, 7)
    made, offer, held = offered(circuit)
    answer, delta = made.answer(held.drawn), made._delta
    assert len(answer) == 16 * 5 * 30
    assert not labels_in(offer, answer, delta)
    assert labels_in(offer._replace(labels=answer), answer, delta)


def test_words_of_rho_hide_the_offset_and_both_labels() -> None:
    """Neither a pad, nor a label, nor the offset is among the words; every word is another."""
    circuit = activation(5, (30,), 0, 4, 7)
    receiver, sender = session(circuit.transfers)
    pads = sender._pads.copy()
    made = circuit.garble(sender)
    offer = made.offer()
    sent = np.frombuffer(offer.labels, "V16")
    zeros, delta = pads[:, 0], made._delta
    known = {label.tobytes() for each in (zeros, pads[:, 1], xor_all(zeros, delta)) for label in each} | {
        delta.tobytes()
    }
    assert len({label.tobytes() for label in sent}) == len(sent) == 150
    assert not known & {label.tobytes() for label in sent}
    held = circuit.hold(offer, receiver)
    active = words(held._labels["y"]) ^ words(zeros.copy())
    chosen = to_bits(held.drawn["y"], 5).reshape(-1)
    np.testing.assert_array_equal(active, chosen[:, None] * delta)


def test_rho_is_uniform_and_fresh() -> None:
    circuit = product(20_000)
    drawn = [halves(circuit)[1].drawn["a"] for _ in range(2)]
    for each in drawn:
        assert (abs(to_bits(each, 8).sum(axis=1) - 10_000) < 710).all()
    assert abs(int((drawn[0] == drawn[1]).sum()) - 20_000 / 256) < 100
