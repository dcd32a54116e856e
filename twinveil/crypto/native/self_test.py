"""Every operation once, on extreme numbers, against Python's own integers: what a level passes before use."""

from __future__ import annotations

from math import prod

import numpy as np

from twinveil.crypto.native.arithmetic import Arithmetic, Rows

EXPONENTS = (0, 1, 2**60 - 1, 0x123456789ABCDEF)
WIDTH = 7
"""Of windows in `fold`."""


def right(arithmetic: Arithmetic) -> bool:
    """Whether all answers are right."""
    n = int(arithmetic.n)
    modulus = n * n
    bits = n.bit_length()
    # Whatever n is, these are units: -1, 1 + n, -1 + n, and powers of 2
    units = [modulus - 1, 1 + n, n - 1, 1 << (2 * bits - 3), 1 << (bits + 1), (modulus + 1) // 2, 1]
    others = [0, n, modulus - n, (n - 1) * (n - 2), modulus - 2, 3, 1 << bits]
    plain = [n - 1, 0, 1, n // 2, n // 3, n - 2, 1 << (bits - 1)]

    def load(numbers: list[int]) -> Rows:
        return arithmetic.load(b"".join([number.to_bytes(arithmetic.size, "big") for number in numbers]))

    def is_right(rows: Rows, numbers: list[int]) -> bool:
        return arithmetic.store(rows) == b"".join(
            [(number % modulus).to_bytes(arithmetic.size, "big") for number in numbers]
        )

    a, b = load(units), load(others)
    forms = arithmetic.normal(a)
    squares = arithmetic.multiply_normal(forms, forms)
    table = arithmetic.table([squares, forms], 2 * len(units))
    entries = [u * u for u in units] + units
    index = np.arange(60, dtype=np.uint32).reshape(5, 12) * 5 % len(entries)
    digits = (np.arange(len(entries) * 9) * 11 % 16).astype(np.uint8).reshape(len(entries), 9)
    exponents = [EXPONENTS[at % len(EXPONENTS)] for at in range(len(others))]
    data = b"".join([m.to_bytes(arithmetic.half_size, "big") for m in plain])
    pairs = list(zip(units, others, strict=True))
    return (
        is_right(b, others)
        and is_right(arithmetic.multiply(a, b), [x * y for x, y in pairs])
        and is_right(arithmetic.square(b, 5), [pow(y, 32, modulus) for y in others])
        and is_right(arithmetic.fold(b[:6], 2, WIDTH), _folded(others[:6], 2, modulus))
        and is_right(
            arithmetic.power([(arithmetic, b, exponents)], 60)[0],
            [pow(y, e, modulus) for y, e in zip(others, exponents, strict=True)],
        )
        and is_right(
            arithmetic.add_plain(a, data), [x * (1 + m * n) for x, m in zip(units, plain, strict=True)]
        )
        and arithmetic.coprime(a)
        and not arithmetic.coprime(b)
        and is_right(
            arithmetic.gather(table, index),
            [prod(entries[at] for at in column) for column in index.T.tolist()],
        )
        and is_right(
            arithmetic.buckets(table, digits, 16),
            [
                prod(pow(entry, digit, modulus) for entry, digit in zip(entries, column, strict=True))
                for column in digits.T.tolist()
            ],
        )
    )


def _folded(numbers: list[int], count: int, modulus: int) -> list[int]:
    return [
        prod(pow(number, 1 << (WIDTH * j), modulus) for j, number in enumerate(numbers[start::count]))
        for start in range(count)
    ]
