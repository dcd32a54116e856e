"""Runs a program in the clear and garbled, and holds the two against each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from twinveil.garbling import ideal
from twinveil.garbling.base_ot import random_choices
from twinveil.garbling.circuit import Program, count, flatten, run_plain
from twinveil.garbling.evaluator import evaluate
from twinveil.garbling.garbler import garble
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender

Bits = Mapping[str, npt.NDArray[np.bool_]]
Transfer = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.bool_]], npt.NDArray[np.uint8]]


def shapes(bits: Bits) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in bits.items()}


def run_garbled(
    program: Program, garbler: Bits, evaluator: Bits, transfer: Transfer = ideal.transfer
) -> dict[str, npt.NDArray[np.bool_]]:
    """Garble, transfer, evaluate; labels by the ideal OT unless another is given."""
    own, other = shapes(garbler), shapes(evaluator)
    garbling = garble(program, own, other)
    labels = transfer(garbling.evaluator_pairs(), flatten(other, evaluator))
    return evaluate(
        program, own, other, garbling.tables, garbling.garbler_labels(garbler), labels, garbling.decode
    )


def run_both(program: Program, garbler: Bits, evaluator: Bits) -> dict[str, npt.NDArray[np.bool_]]:
    """Outputs, the same from every backend, or an AssertionError."""
    plain, garbled = run_plain(program, garbler, evaluator), run_garbled(program, garbler, evaluator)
    counts = count(program, shapes(garbler), shapes(evaluator))
    assert dict(counts.outputs) == shapes(plain) == shapes(garbled)
    for name, bits in plain.items():
        np.testing.assert_array_equal(garbled[name], bits, err_msg=name)
    return plain


def session(count: int, name: bytes = b"session") -> tuple[ExtensionReceiver, ExtensionSender]:
    """S2's and S1's side of `count` random transfers, over ideal base OTs."""
    keys = np.frombuffer(os.urandom(128 * 32), np.uint8).reshape(128, 2, 16)
    s = random_choices()
    receiver, sender = ExtensionReceiver(keys, name), ExtensionSender(ideal.transfer(keys, s), s, name)
    if count:
        sender.accept(receiver.prepare(count), count)
    return receiver, sender
