"""Counting big-integer operations, exactly, by kind.

Every kernel knows its own count in closed form and adds it once it is done; a test holds the closed forms
equal to the multiplications that are really performed. A count times its calibrated cost is processor time
that went into big integers, which is what `twinveil estimate` predicts and `twinveil bench` reports.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

MODMUL_N2 = "modmul_n2"
"""x*y mod N^2, both of full size."""
MODMUL_N2_HALF = "modmul_n2_half"
"""x*u mod N^2, u below N: the step of tables and buckets (see native.tables)."""
SQUARE_N2 = "square_n2"
"""x*x mod N^2."""
MUL_N = "mul_n"
"""x*y, both below N, not reduced."""
MODMUL_N = "modmul_n"
"""x*y mod N, or quotient and rest of x*y by N."""
INVERSE_N = "inverse_n"
"""x^-1 mod N, or a gcd with N."""
INVERSE_N2 = "inverse_n2"
"""x^-1 mod N^2."""
POWER_N2 = "power_n2"
"""x^e mod N^2, e as long as N."""
POWER_P2 = "power_p2"
"""x^(p-1) mod p^2 or mod q^2, by the key holder; a decryption is two of them."""
MODMUL_P2 = "modmul_p2"
"""x*y mod p^2 or mod q^2."""

KINDS = (
    MODMUL_N2,
    MODMUL_N2_HALF,
    SQUARE_N2,
    MUL_N,
    MODMUL_N,
    INVERSE_N,
    INVERSE_N2,
    POWER_N2,
    POWER_P2,
    MODMUL_P2,
)


class Tally:
    """Operations by kind. Adding is atomic, so that the threads of one conversation may share a tally."""

    __slots__ = ("_counts", "_lock")

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        for kind, count in (counts or {}).items():
            self.add(kind, count)

    def add(self, kind: str, count: int = 1) -> None:
        if kind not in KINDS:
            raise ValueError(f"no such kind of operation: {kind}")
        if count:
            with self._lock:
                self._counts[kind] = self._counts.get(kind, 0) + count

    def __iadd__(self, other: Tally | Mapping[str, int]) -> Tally:
        for kind, count in (other.as_dict() if isinstance(other, Tally) else other).items():
            self.add(kind, count)
        return self

    def __add__(self, other: Tally) -> Tally:
        total = Tally(self.as_dict())
        total += other
        return total

    def __getitem__(self, kind: str) -> int:
        return self._counts.get(kind, 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tally) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Tally({self.as_dict()})"

    @property
    def total(self) -> int:
        """All operations, whatever their kind."""
        with self._lock:
            return sum(self._counts.values())

    def as_dict(self) -> dict[str, int]:
        """A copy, in the order of KINDS; what a worker process sends home."""
        with self._lock:
            return {kind: self._counts[kind] for kind in KINDS if kind in self._counts}

    def seconds(self, costs: Mapping[str, float]) -> float:
        """Processor time of these operations at the calibrated `costs` (see `calibration`)."""
        return sum(count * costs[kind] for kind, count in self.as_dict().items())
