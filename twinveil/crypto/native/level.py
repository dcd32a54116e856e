"""Which arithmetic this process computes with: chosen once, from TWINVEIL_NATIVE and the processor.

A native level is used only after a self-test in this process, against Python's own integers.
"""

from __future__ import annotations

import logging
from functools import cache

from gmpy2 import mpz

from twinveil.crypto.native.arithmetic import Arithmetic
from twinveil.crypto.native.gmp import Gmp
from twinveil.crypto.native.lanes import BUILT, LAYOUTS, Lanes
from twinveil.crypto.native.self_test import right
from twinveil.errors import BadConfiguration
from twinveil.native import AUTO, AVX2, IFMA, OFF, REQUIRED, VARIABLE, asked

log = logging.getLogger(__name__)

GMPY2 = "gmpy2"
NATIVE = (IFMA, AVX2)
"""Fastest first."""
SELF_TEST_BITS = {IFMA: (1024,), AVX2: (1024, 3600)}
"""Lengths of n: one for each of a level's ways to hold numbers."""


@cache
def level() -> str:
    """IFMA, AVX2 or GMPY2; BadConfiguration if TWINVEIL_NATIVE asks for what is not to be had."""
    wish = asked()
    if wish == OFF:
        return GMPY2
    for name in available():
        if wish in (AUTO, REQUIRED, name):
            if all(right(arithmetic((mpz(1) << bits) - 105, name)) for bits in SELF_TEST_BITS[name]):
                return name
            log.warning("native arithmetic (%s) fails its self-test and is not used", name)
    if wish != AUTO:
        raise BadConfiguration(f"{VARIABLE} is {wish!r}, but {why_not()}")
    return GMPY2


def describe() -> str:
    """The level in use and, if it is gmpy2, why: for status lines."""
    name = level()
    if name != GMPY2:
        return name
    return f"{name} ({VARIABLE} is off)" if asked() == OFF else f"{name} ({why_not()})"


def why_not() -> str:
    """Why no native level is used, or not the one that is asked for."""
    if not BUILT:
        return "the native extension is not there: install a C compiler, then Twinveil again"
    if not available():
        return "this processor has neither AVX-512 IFMA nor AVX2"
    return f"of {' and '.join(available())}, which this processor has, none is right for that"


def available() -> tuple[str, ...]:
    """The native levels that are built and that this processor has, fastest first."""
    built = {layout.level for layout in LAYOUTS}
    return tuple(name for name in NATIVE if name in built)


def arithmetic(n: mpz, name: str, threads: int = 1) -> Arithmetic:
    """Arithmetic modulo n^2 of a level; gmpy2's for an n that the level has no numbers for."""
    for layout in LAYOUTS:
        if layout.level == name and layout.holds(n):
            return Lanes(n, layout, threads)
    return Gmp(n, threads)
