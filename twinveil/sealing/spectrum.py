"""Rank, norm and singular values of an integer matrix, in integers.

Singular values are the roots of the eigenvalues of S^T S, found by Jacobi's method in fixed point: every
round turns n/2 disjoint pairs of rows and columns, every sweep meets every pair once.
"""

from __future__ import annotations

import math

import numpy as np

from twinveil.errors import BadPlan
from twinveil.sealing.integers import Integers, root

_SWEEPS = 10
_ANGLE_BITS = 28
_ENTRY_BITS = 10
"""Entries enter with so many bits: the trace of S^T S is at most 2^30, and so is every entry on the way."""
_DROPPED = 15 - _ENTRY_BITS


def rank(matrix: Integers) -> int:
    """Exact, by fraction-free elimination (Bareiss)."""
    rows = [[int(value) for value in row] for row in matrix]
    found, divisor = 0, 1
    for column in range(len(rows[0])):
        pivot = next((place for place in range(found, len(rows)) if rows[place][column]), None)
        if pivot is None:
            continue
        rows[found], rows[pivot] = rows[pivot], rows[found]
        head = rows[found]
        for place in range(found + 1, len(rows)):
            row = rows[place]
            rows[place] = [
                (head[column] * value - row[column] * above) // divisor
                for value, above in zip(row, head, strict=True)
            ]
        divisor = head[column]
        found += 1
        if found == len(rows):
            break
    return found


def norm(matrix: Integers) -> int:
    """Frobenius: floor of the root of the sum of squares."""
    return math.isqrt(sum(int(value) ** 2 for value in matrix.reshape(-1)))


def singular_values(matrix: Integers) -> Integers:
    """Of a square matrix of even order up to 32 with entries of 15 bits; falling; in units of 2^-10."""
    order = len(matrix)
    if matrix.shape != (order, order) or order % 2 or not 2 <= order <= 32:
        raise BadPlan("singular values are taken of square matrices of even order up to 32")
    small = matrix >> _DROPPED
    gram = small.T @ small
    for _ in range(_SWEEPS):
        for first, second in _rounds(order):
            _turn(gram, first, second)
    values = root(np.maximum(np.diagonal(gram), 0))
    return np.sort(values)[::-1].astype(np.int64)


def _rounds(order: int) -> list[tuple[Integers, Integers]]:
    """A tournament: order - 1 rounds of disjoint pairs in which every two meet once."""
    ring = list(range(1, order))
    rounds = []
    for _ in range(order - 1):
        seats = [0, *ring]
        half = order // 2
        rounds.append((np.array(seats[:half]), np.array(seats[half:][::-1])))
        ring = ring[1:] + ring[:1]
    return rounds


def _turn(gram: Integers, first: Integers, second: Integers) -> None:
    """Turns each pair so that its off-diagonal entry vanishes (Golub, Van Loan: 8.5.2), up to rounding."""
    difference = gram[second, second] - gram[first, first]
    double = 2 * gram[first, second]
    reach = np.abs(difference) + root(difference * difference + double * double)
    tangent = (np.abs(double) << _ANGLE_BITS) // np.maximum(reach, 1)
    tangent = np.where((double < 0) == (difference < 0), tangent, -tangent)
    one = 1 << (2 * _ANGLE_BITS)
    cosine = one // root(one + tangent * tangent)
    sine = (tangent * cosine) >> _ANGLE_BITS
    for matrix in (gram, gram.T):  # rows, then columns
        above, below = matrix[first].copy(), matrix[second].copy()
        c, s = cosine[:, None], sine[:, None]
        matrix[first] = (c * above - s * below) >> _ANGLE_BITS
        matrix[second] = (s * above + c * below) >> _ANGLE_BITS
