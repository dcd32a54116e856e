"""Schedules of multi-exponentiation and their exact operation counts.

A schedule follows from (bases, outputs, bits) alone, never from exponents, so that a count made from a plan
on another machine is what is performed here.

Where this stands, for 22-bit exponents at 2048 bits, in steps a term and in their cost as full
multiplications:

    bases x outputs   square and multiply   Pippenger, full size   here          in full multiplications
    1200 x 8          33                    3.9                    3.5 + 0.75    2.5
    72 x 16           33                    4.6                    4.0 + 2.1     3.1

(the second number: multiplications mod N that prepare normal forms and tables, a third of a full one each.)
Counting bit matrices of M = outputs*bits*bases entries gives a lower bound near M / log2(M), 1.2 a term at
1200 x 8 (Pippenger, SIAM J. Comput. 1980). No regular schedule near it is known at these sizes: sharing
pairs of bases between windows depends on the exponents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from twinveil.crypto.normal_form import NORMALISE_MODMULS, PRODUCT_MODMULS
from twinveil.crypto.tally import INVERSE_N, MODMUL_N, MODMUL_N2, MODMUL_N2_HALF, SQUARE_N2

MAX_BITS = 64
WEIGHTS = {MODMUL_N2: 4.44, MODMUL_N2_HALF: 2.52, SQUARE_N2: 3.84, MODMUL_N: 1.4, INVERSE_N: 20.0}
"""Relative costs by which a schedule is chosen: microseconds at 2048 bits. Constants, not measured at run
time, so that every machine chooses the same schedule and a prediction made elsewhere holds here."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Signed windows, most significant first; the first is unsigned and takes the last carry."""

    windows: tuple[int, ...]

    def sizes(self, bits: int) -> tuple[int, ...]:
        """Number of buckets of each window."""
        first = self.windows[0]
        top = (1 << first) - 1 if first == bits else 1 << first
        return (top, *(1 << (window - 1) for window in self.windows[1:]))

    @property
    def signed(self) -> bool:
        return len(self.windows) > 1

    def counts(self, bases: int, outputs: int, bits: int) -> dict[str, int]:
        raised = sum(2 * (size - 1) for size in self.sizes(bits))
        steps = len(self.windows)
        prepare = NORMALISE_MODMULS + (1 if self.signed else 0)
        return {
            MODMUL_N: bases * prepare,
            INVERSE_N: 1,
            MODMUL_N2_HALF: outputs * steps * bases,
            SQUARE_N2: outputs * (bits - self.windows[0]),
            MODMUL_N2: outputs * (raised + steps),
        }


@dataclass(frozen=True, slots=True)
class Tables:
    """Groups of at most `group` bases, windows of `window` bits: 2^(group window) products a group."""

    group: int
    window: int

    def groups(self, bases: int) -> tuple[int, ...]:
        """Sizes of the groups, as even as can be."""
        number = -(-bases // self.group)
        small, more = divmod(bases, number)
        return (small + 1,) * more + (small,) * (number - more)

    def steps(self, bits: int) -> int:
        return -(-bits // self.window)

    def table_counts(self, bases: int) -> dict[str, int]:
        groups = self.groups(bases)
        products = sum((1 << (size * self.window)) - 1 - size for size in groups)
        lengthened = 1 << (groups[0] * self.window)
        return {MODMUL_N: bases * NORMALISE_MODMULS + products * PRODUCT_MODMULS + lengthened, INVERSE_N: 1}

    def power_counts(self, bases: int, outputs: int, bits: int) -> dict[str, int]:
        steps = self.steps(bits)
        return {
            MODMUL_N2_HALF: outputs * steps * (len(self.groups(bases)) - 1),
            SQUARE_N2: outputs * (steps - 1) * self.window,
            MODMUL_N2: outputs * steps,
        }

    def counts(self, bases: int, outputs: int, bits: int) -> dict[str, int]:
        return self.table_counts(bases) | self.power_counts(bases, outputs, bits)


def _cost(counts: dict[str, int]) -> float:
    return sum(count * WEIGHTS[kind] for kind, count in counts.items())


def _candidates(bases: int, bits: int) -> Iterator[Buckets | Tables]:
    for steps in range(1, bits + 1):
        if steps == 1:
            if bits <= 12:
                yield Buckets((bits,))
            continue
        for first in range(1, min(bits - steps + 2, 13)):
            small, more = divmod(bits - first, steps - 1)
            if small + bool(more) <= 13:
                yield Buckets((first, *((small + 1,) * more), *((small,) * (steps - 1 - more))))
    for group in range(1, min(bases, 12) + 1):
        for window in range(1, 12 // group + 1):
            if window <= bits:
                yield Tables(group, window)


@lru_cache(maxsize=4096)
def choose(bases: int, outputs: int, bits: int) -> Buckets | Tables:
    """The cheapest schedule for this shape."""
    if bases < 1 or outputs < 1 or not 1 <= bits <= MAX_BITS:
        raise ValueError(f"no schedule for {bases} bases, {outputs} outputs, {bits} bits")
    return min(_candidates(bases, bits), key=lambda schedule: _cost(schedule.counts(bases, outputs, bits)))


def predict(bases: int, outputs: int, bits: int) -> dict[str, int]:
    """Operations of one `multi_exponentiate` by kind; exactly what it performs."""
    return choose(bases, outputs, bits).counts(bases, outputs, bits)


def operation_count(bases: int, outputs: int, bits: int) -> int:
    """All operations of one `multi_exponentiate`, whatever their kind."""
    return sum(predict(bases, outputs, bits).values())
