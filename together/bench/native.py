"""How many times gmpy2's speed each native level has, on this processor, in one run."""

from __future__ import annotations

import time
from typing import Any

from twinveil.crypto.native.bench import (
    DECRYPTIONS,
    MANY_DECRYPTIONS,
    NONCES,
    decryptions,
    medians,
    nonces,
    prime,
)
from twinveil.crypto.native.level import GMPY2, NATIVE, available


def native_ratios(key_bits: int) -> dict[str, Any]:
    """native_decrypt, native_half: times gmpy2's speed, on one thread; native_threads: two threads over one.

    By level; None where the processor lacks it.
    """
    p, q = prime(key_bits // 2), prime(key_bits // 2)
    levels = (*available(), GMPY2)
    decrypting = medians({each: decryptions(p, q, each, DECRYPTIONS) for each in levels}, time.thread_time)
    stepping = medians({each: nonces(p * q, each, NONCES) for each in levels}, time.thread_time)
    threads = {}
    for level in available():
        works = {str(count): decryptions(p, q, level, MANY_DECRYPTIONS, count) for count in (1, 2)}
        seconds = medians(works, time.perf_counter)
        threads[level] = seconds["1"] / seconds["2"]
    return {
        "native_decrypt": _over(decrypting),
        "native_half": _over(stepping),
        "native_threads": {level: threads.get(level) for level in NATIVE},
    }


def _over(seconds: dict[str, float]) -> dict[str, float | None]:
    return {level: seconds[GMPY2] / seconds[level] if level in seconds else None for level in NATIVE}
