"""What S2 could learn from nonces if S1 did not re-randomise: a linear system over GF(2).

S2 made the ciphertexts that S1 computes on, and knows whether each nonce is a square modulo p. Sums that S1
only multiplies together carry the product of those nonces to powers that never change (S1's shares of the
weights): over many items, the characters of what comes back are a fixed linear function of the characters
of what went out, and S2 reads the parity of every weight. Fresh nonces make them coins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import gmpy2
import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.views.statistics import Finding
from twinveil.views.view import View

Parities = npt.NDArray[np.uint8]


def examine_nonces(s1: Sequence[View], s2: Sequence[View], prime: mpz) -> Iterator[Finding]:
    """One test for each ciphertext that an item's E(u) becomes; views of one item stand at one place."""
    topic = s1[0].subject
    layers = ModelLayout(topic.plan, topic.n.bit_length()).item.layers
    made = np.array([_characters(view, "item_inputs", prime) for view in s1], np.uint8)
    returned = np.array([_characters(view, "item_offer", prime) for view in s2], np.uint8)
    first_made = first_returned = 0
    for name, layer in layers.items():
        sources = made[:, first_made : first_made + layer.inputs.plaintexts]
        known = np.concatenate([sources, np.ones((len(sources), 1), np.uint8)], axis=1)
        first_made += layer.inputs.plaintexts
        for place in range(layer.kernel.sums, layer.sums):
            column = returned[:, first_returned + place]
            p = _linear(known, column)
            yield Finding("cloud_s2", f"{name}, sum {place}", "nonces, linear over GF(2)", len(column), p)
        first_returned += layer.sums


def _characters(view: View, message: str, prime: mpz) -> list[int]:
    """Jacobi symbols modulo p as bits, of the ciphertexts of that message that a cloud received."""
    (event,) = [each for each in view.events if each.what == "received" and each.name == message]
    rows = event.arrays["ciphertexts"].reshape(-1, 2 * view.subject.n.bit_length() // 8)
    values = [mpz(int.from_bytes(row.tobytes(), "big")) for row in rows]
    return [int(gmpy2.jacobi(value % prime, prime) < 0) for value in values]


def _linear(known: Parities, column: Parities) -> float:
    """p that a random column is in the span of the known ones."""
    rank = _rank(known)
    inside = _rank(np.concatenate([known, column[:, None]], axis=1)) == rank
    return float(2.0 ** (rank - len(column))) if inside else 1.0


def _rank(matrix: Parities) -> int:
    left, rank = matrix.copy(), 0
    for column in range(left.shape[1]):
        rows = np.flatnonzero(left[rank:, column]) + rank
        if len(rows):
            left[[rank, rows[0]]] = left[[rows[0], rank]]
            others = np.flatnonzero(left[:, column])
            left[others[others != rank]] ^= left[rank]
            rank += 1
    return rank
