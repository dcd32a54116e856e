"""From labels to additive shares without an adder: one word of L bits an output bit.

For bit i of an output, with labels W (of 0) and W xor Delta (of 1) and p = lsb(W), so that W_p, the label of
the value p, has the colour 0, all modulo 2^L:

    S1   t = H(W_p) - p 2^i        r = - sum t        word = H(W_(1-p)) - t - (1-p) 2^i
    S2   sum over i of H(label), less the word where its colour is 1,  = sum t + sum x_i 2^i = x - r

So r falls out of the garbling: S1 has it before any input is known. S2 knows one label of each wire. The hash
of the other is a one-time pad on the word; of t S2 knows that it is one of two values, and which of them only
the bit tells. H is cut to its low L bits. Its instances are the circuit's, counted on from the first block
that holds no gate, so that no (key, tweak) serves twice.

An output of a circuit that nobody adds is *flipped* instead: S2 gets the colours of its labels, which are
x xor p, and p, uniform, is S1's. That is free.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from twinveil.garbling.bits import bit_weights, from_bits
from twinveil.garbling.evaluator import Evaluator
from twinveil.garbling.garbler import Garbler
from twinveil.garbling.gates import Wires
from twinveil.garbling.hashing import next_block
from twinveil.garbling.labels import colours, permute_bits, words
from twinveil.ring import modulo, pack_words, packed_bytes, unpack_words

Integers = npt.NDArray[np.uint64]
Widths = Mapping[str, int]
"""L, 1 to 64, of each output that is shared, by name; other outputs are flipped."""


def words_bytes(widths: Widths, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Size of the words of outputs of those shapes (bits, *batch): each output begins at a whole byte."""
    return sum(packed_bytes(int(np.prod(shapes[name])), bits) for name, bits in widths.items())


def share(
    garbler: Garbler, outputs: Mapping[str, Wires], widths: Widths
) -> tuple[bytes, dict[str, Integers]]:
    """S1: the words for S2, and its own r modulo 2^L, or p, of every output: (*batch)."""
    sent, masks, instance = [], {}, next_block(garbler.instances)
    for name, wires in _sorted(outputs):
        if name not in widths:
            masks[name] = from_bits(permute_bits(wires).reshape(wires.shape))
            continue
        zeros = words(wires)
        bits = colours(zeros)
        hashes = [
            garbler.primitives.hash(instance, 0, words(labels))[:, 0].reshape(wires.shape)
            for labels in garbler.by_colour(wires)
        ]
        instance += len(zeros)
        weights = bit_weights(wires.shape)
        value = bits.reshape(wires.shape) * weights
        part = hashes[0] - value
        sent.append(pack_words(modulo(hashes[1] - part - (weights - value), widths[name]), widths[name]))
        masks[name] = modulo(np.uint64(0) - part.sum(axis=0), widths[name])
    return b"".join(sent), masks


def split_words(packed: bytes, widths: Widths, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Integers]:
    """S2: the words of each shared output, (bits, *batch); ahead of the labels."""
    found, start = {}, 0
    for name in sorted(widths):
        count = int(np.prod(shapes[name]))
        stop = start + packed_bytes(count, widths[name])
        found[name] = unpack_words(packed[start:stop], count, widths[name]).reshape(shapes[name])
        start = stop
    return found


def read(
    evaluator: Evaluator, outputs: Mapping[str, Wires], widths: Widths, received: Mapping[str, Integers]
) -> dict[str, Integers]:
    """S2: x - r modulo 2^L, or x xor p, of every output: (*batch)."""
    shares, instance = {}, next_block(evaluator.instances)
    for name, wires in _sorted(outputs):
        labels = words(wires)
        bits = colours(labels).reshape(wires.shape)
        if name not in widths:
            shares[name] = from_bits(bits)
            continue
        hashed = evaluator.primitives.hash(instance, 0, labels)[:, 0].reshape(wires.shape)
        instance += len(labels)
        shares[name] = modulo((hashed - received[name] * bits).sum(axis=0), widths[name])
    return shares


def _sorted(outputs: Mapping[str, Wires]) -> list[tuple[str, Wires]]:
    return [(name, outputs[name]) for name in sorted(outputs)]
