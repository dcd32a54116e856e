"""Key pairs for tests: made once a run, never stored."""

from __future__ import annotations

from functools import cache

from twinveil.crypto.keygen import generate
from twinveil.crypto.secret_key import SecretKey
from twinveil.params import Params


def toy(bits: int = 256) -> Params:
    return Params(bits, insecure_small_key=bits < 2048)


@cache
def secret_key(bits: int = 256) -> SecretKey:
    """One key a size and run; tests that look at its counters make their own."""
    return generate(toy(bits))
