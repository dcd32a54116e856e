"""Arithmetic on bundles of wires, elementwise over all batch axes, which broadcast if they are as many.

n is the number of bits (axis 0); counts are AND gates for each element of the batch. Adders and comparators
take one AND a bit (Kolesnikov, Sadeghi, Schneider: ePrint 2009/411).
"""

from __future__ import annotations

from math import isqrt

import numpy as np

from twinveil.errors import InvalidMessage
from twinveil.garbling.gates import Gates, Wires


def zeros(g: Gates, bits: int, like: Wires) -> Wires:
    """`bits` constant zeros over the batch of `like`. Free."""
    return g.constant(np.zeros((bits, *like.shape[1:]), np.bool_))


def add(g: Gates, a: Wires, b: Wires, carry: bool = False) -> Wires:
    """a + b, unsigned, modulo 2^n for n = max(n_a, n_b); `carry` keeps the carry as bit n.

    The shorter operand is extended by zeros: over the longer part only the carry ripples.
    ANDs: n - 1; with carry n.
    """
    if len(a) < len(b):
        a, b = b, a
    if len(b) == 0:
        raise InvalidMessage("an adder wants at least one bit of each operand")
    a, b = _same_batch(a, b)
    carries = _carries(g, a, b, len(a) if carry else len(a) - 1)
    total = _xor_short(g, a, b)
    if not carry:
        return g.xor(total, carries)
    return np.concatenate([g.xor(total, carries[:-1]), carries[-1:]])


def subtract(g: Gates, a: Wires, b: Wires) -> Wires:
    """(a - b) mod 2^n, n = n_a; b is cut to n bits or extended by zeros. ANDs: n - 1.

    One AND a bit at any width; thousands of bits take as many calls, and `subtract_wide` few.
    """
    b = b[: len(a)]
    if len(b) == 0:
        raise InvalidMessage("a subtraction wants at least one bit of each operand")
    a, b = _same_batch(a, b)
    # a - b = not (not a + b), and the two outer inversions of a xor b xor carries cancel.
    return g.xor(_xor_short(g, a, b), _carries(g, a, b, len(a) - 1, inverted=True))


def add_wide(g: Gates, a: Wires, b: Wires, block: int = 0) -> Wires:
    """(a + b) mod 2^n for operands of one width n, in about 2 sqrt(n) calls instead of n.

    A carry-select adder: each block of `block` bits (default: about sqrt n) is added for both carries that
    may come in, all blocks side by side; then the carries run from block to block. ANDs: less than 3n; worth
    it for a few hundred instances or less of a plaintext's width.
    """
    if len(a) != len(b) or len(a) == 0:
        raise InvalidMessage("a wide adder wants two operands of one width")
    a, b = _same_batch(a, b)
    bits, batch = len(a), a.shape[1:]
    size = block or max(1, isqrt(bits))
    blocks = -(-bits // size)
    padding = zeros(g, blocks * size - bits, a)
    # (bit in the block, block, *batch)
    a, b = (np.concatenate([x, padding]).reshape(blocks, size, *batch).swapaxes(0, 1) for x in (a, b))
    total = g.xor(a, b)
    # Lane 0: no carry comes in; lane 1: one does, and a b or (a xor b) is its first carry.
    both = g.and_(a[:1], b[:1])
    carry = np.stack([both, g.xor(both, total[:1])], axis=1)
    lanes = [carry]
    for place in range(1, size):
        left, right = (g.xor(x[place : place + 1, None], carry) for x in (a, b))
        carry = g.xor(carry, g.and_(left, right))
        lanes.append(carry)
    inner = np.concatenate(lanes)
    unset, differ = inner[:, 0], g.xor(inner[:, 0], inner[:, 1])
    entering = [unset[-1:, 0]]
    for at in range(1, blocks - 1):
        entering.append(g.xor(unset[-1:, at], g.and_(differ[-1:, at], entering[-1])))
    first = zeros(g, 1, total[:, :1])
    arrived = np.concatenate([first, np.stack(entering, axis=1)], axis=1)[:, :blocks]
    later = g.xor(unset[:-1, 1:], g.and_(differ[:-1, 1:], arrived[:, 1:]))
    carries = np.concatenate([arrived, np.concatenate([unset[:-1, :1], later], axis=1)])
    return g.xor(total, carries).swapaxes(0, 1).reshape(blocks * size, *batch)[:bits]


def subtract_wide(g: Gates, a: Wires, b: Wires, block: int = 0) -> Wires:
    """(a - b) mod 2^n for operands of one width, by `add_wide`: the import's whole plaintexts. ANDs: < 3n."""
    return g.invert(add_wide(g, g.invert(a), b, block))


def add_mask(g: Gates, value: Wires, mask: Wires, carry: bool = False) -> Wires:
    """value + mask over all bits of the mask, value unsigned and not wider than the mask.

    Without carry: modulo 2^n, n = n_mask, for additive shares; ANDs: n - 1.
    With carry: over the integers, n + 1 bits; ANDs: n.
    """
    if len(value) > len(mask):
        raise InvalidMessage("a mask must be at least as wide as the value that it hides")
    return add(g, value, mask, carry)


def greater(g: Gates, a: Wires, b: Wires, signed: bool = False) -> Wires:
    """1 where a > b, shape (1, *batch); operands of one width, unsigned or two's complement. ANDs: n."""
    if len(a) != len(b) or len(a) == 0:
        raise InvalidMessage("a comparison wants two operands of one width")
    a, b = _same_batch(a, b)
    a, b = _unsigned(g, a, signed), _unsigned(g, b, signed)
    # Equal bits keep the verdict of those below, unequal ones make it a.
    return g.ripple(a, g.invert(b), zeros(g, 1, a))[-1:]


def mux(g: Gates, select: Wires, a: Wires, b: Wires) -> Wires:
    """a where `select` (1, *batch) is 1, b where it is 0. ANDs: n, in one call."""
    return g.xor(b, g.and_(select, g.xor(a, b)))


def maximum(g: Gates, a: Wires, b: Wires, signed: bool = False) -> Wires:
    """The larger of a and b. ANDs: 2n (n to compare, n to choose)."""
    return mux(g, greater(g, a, b, signed), a, b)


def every(g: Gates, bits: Wires) -> Wires:
    """AND of all bits along axis 0, shape (1, *batch). ANDs: n - 1, in ceil(log2 n) calls."""
    while len(bits) > 1:
        half = len(bits) // 2
        bits = np.concatenate([g.and_(bits[:half], bits[half : 2 * half]), bits[2 * half :]])
    return bits


def some(g: Gates, bits: Wires) -> Wires:
    """OR of all bits along axis 0, shape (1, *batch). ANDs: n - 1, in ceil(log2 n) calls."""
    return g.invert(every(g, g.invert(bits)))


def is_positive(g: Gates, v: Wires) -> Wires:
    """t = 1 where v > 0, v in two's complement; shape (1, *batch): the record of SACT. ANDs: n - 1."""
    sign = v[-1:]
    if len(v) == 1:
        return zeros(g, 1, v)
    return g.and_(g.invert(sign), some(g, v[:-1]))


def relu_requantise(g: Gates, v: Wires, shift: int, bits: int) -> Wires:
    """min(max(v, 0) >> shift, 2^bits - 1), v in two's complement of n bits; result (bits, *batch).

    Truncation drops wires. With h = n - 1 - shift - bits high bits that can overflow the result:
    ANDs: bits + h for h > 0; min(bits, n - 1 - shift) otherwise, and higher result bits are constant 0.
    """
    magnitude, sign = v[shift:-1], v[-1:]
    kept, high = magnitude[:bits], magnitude[bits:]
    passes = g.invert(sign)
    if len(high):
        # Saturate sets all bits; a negative value passes none.
        saturate = g.and_(passes, some(g, high))
        result = g.xor(saturate, g.and_(g.xor(passes, saturate), kept))
    elif len(kept):
        result = g.and_(passes, kept)
    else:
        result = kept
    return np.concatenate([result, zeros(g, bits - len(result), v)]) if len(result) < bits else result


def argmax(g: Gates, values: Wires, signed: bool = False) -> Wires:
    """Index of the largest of k values, ties to the lowest: (n, k, *batch) -> (ceil(log2 k), *batch).

    A knock-out in which the right-hand value must be strictly greater; a winner's index grows by one bit a
    round. ANDs: about (k - 1) * 2n + k; exactly what `count` says. For k = 1 the result has no bits.
    """
    players, bits = _unsigned(g, values, signed), len(values)
    while players.shape[1] > 1:
        pairs = players.shape[1] // 2
        left, right, bye = players[:, : 2 * pairs : 2], players[:, 1 : 2 * pairs : 2], players[:, 2 * pairs :]
        later = greater(g, right[:bits], left[:bits])
        if players.shape[1] == 2:
            # The winning value itself is not needed, only where it stood.
            left, right, bye, bits = left[bits:], right[bits:], bye[bits:], 0
        winners = np.concatenate([mux(g, later, right, left) if len(left) else left, later])
        bye = np.concatenate([bye, zeros(g, 1, bye)])
        players = np.concatenate([winners, bye], axis=1)
    return players[bits:, 0]


def one_hot_maximum(g: Gates, values: Wires, signed: bool = False) -> Wires:
    """Record of the maximum of k values: (n, k, *batch) -> (k, *batch), one 1, ties at the lowest index.

    ANDs: (k - 1) n to compare, (k - 2) n to pass winners on, k - 2 to hand the 1 down from the final.
    """
    values = _unsigned(g, values, signed)
    verdicts: list[Wires] = []
    while values.shape[1] > 1:
        pairs = values.shape[1] // 2
        left, right = values[:, 0 : 2 * pairs : 2], values[:, 1 : 2 * pairs : 2]
        verdicts.append(greater(g, right, left))
        if values.shape[1] == 2:
            break
        values = np.concatenate([mux(g, verdicts[-1], right, left), values[:, 2 * pairs :]], axis=1)
    if not verdicts:
        return g.constant(np.ones(values.shape[1:], np.bool_))
    final = verdicts.pop()
    record = np.concatenate([g.invert(final), final], axis=1)
    for later in reversed(verdicts):
        pairs = later.shape[1]
        parents, bye = record[:, :pairs], record[:, pairs:]
        right = g.and_(parents, later)
        halves = np.stack([g.xor(parents, right), right], axis=2)
        record = np.concatenate([halves.reshape(1, 2 * pairs, *halves.shape[3:]), bye], axis=1)
    return np.asarray(record[0])


def _carries(g: Gates, a: Wires, b: Wires, steps: int, inverted: bool = False) -> Wires:
    """Carries into bits 0 to `steps` of a + b, or of not a + b; n_a >= n_b. ANDs: `steps`."""
    a, b = a[:steps], b[:steps]
    if len(b) < len(a):
        b = np.concatenate([b, zeros(g, len(a) - len(b), b)])
    return g.ripple(g.invert(a) if inverted else a, b, zeros(g, 1, a))


def _xor_short(g: Gates, a: Wires, b: Wires) -> Wires:
    """a xor b, b extended by zeros; n_a >= n_b."""
    if len(a) == len(b):
        return g.xor(a, b)
    return np.concatenate([g.xor(a[: len(b)], b), a[len(b) :]])


def _same_batch(a: Wires, b: Wires) -> tuple[Wires, Wires]:
    """Broadcast all axes but the first against each other."""
    if a.shape[1:] == b.shape[1:]:
        return a, b
    batch = np.broadcast_shapes(a.shape[1:], b.shape[1:])
    return np.broadcast_to(a, (len(a), *batch)), np.broadcast_to(b, (len(b), *batch))


def _unsigned(g: Gates, values: Wires, signed: bool) -> Wires:
    """Flipping the sign bits turns two's complement order into unsigned order."""
    return np.concatenate([values[:-1], g.invert(values[-1:])]) if signed else values
