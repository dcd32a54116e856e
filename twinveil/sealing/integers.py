"""What real numbers are needed for elsewhere, in integers: the same bytes on every machine.

Float kernels differ between processors in their last bits; int64 in numpy does not. Fixed point has
FRACTION_BITS bits; tables come from `decimal`, whose exponential is rounded correctly everywhere.
"""

from __future__ import annotations

from decimal import Context, Decimal
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Integers: TypeAlias = npt.NDArray[np.int64]
Table = Literal["exp_half", "sigmoid", "tanh"]

FRACTION_BITS = 10
ONE = 1 << FRACTION_BITS
VALUE_LIMIT = (1 << 17) - 1
"""Activations are clipped to +-128."""
COSINE_ONE = (1 << 15) - 1

_TABLE_RANGE = 8
_TABLE_STEP_BITS = 3
"""Tables go from -8 to 8 in steps of 1/128."""
_CONTEXT = Context(prec=20)


def rounded_shift(values: Integers, shift: int) -> Integers:
    """values / 2^shift, halves upwards."""
    return (values + ((1 << shift) >> 1)) >> shift


def clipped(values: Integers) -> Integers:
    return np.asarray(np.clip(values, -VALUE_LIMIT, VALUE_LIMIT), dtype=np.int64)


def root(values: Integers) -> Integers:
    """Floor of the square root of each value from 0 to 2^62 - 1, bit by bit."""
    left = values.copy()
    result = np.zeros_like(left)
    for position in range(30, -1, -1):
        step = (result << (position + 1)) + (1 << (2 * position))
        fits = left >= step
        left = np.where(fits, left - step, left)
        result += fits.astype(np.int64) << position
    return result


def cosines(dots: Integers, norms_a: Integers, norms_b: Integers) -> Integers:
    """dot / sqrt(norm_a norm_b) with 15 bits, 0 where a norm is 0. Products of norms stay below 2^42."""
    roots = root((norms_a * norms_b) << 20)
    quotients = (dots << 25) // np.maximum(roots, 1)
    quotients = np.where(roots == 0, 0, quotients)
    return np.asarray(np.clip(quotients, -COSINE_ONE, COSINE_ONE), dtype=np.int64)


def look_up(name: Table, values: Integers) -> Integers:
    """A function of fixed-point values, in fixed point: exp(x/2), the logistic function or tanh."""
    step = 1 << _TABLE_STEP_BITS
    edge = _TABLE_RANGE * ONE // step
    places = np.clip(values >> _TABLE_STEP_BITS, -edge, edge - 1) + edge
    found: Integers = _table(name)[places]
    return found


@cache
def _table(name: Table) -> Integers:
    edge = _TABLE_RANGE * ONE >> _TABLE_STEP_BITS
    entries = []
    for place in range(-edge, edge):
        x = Decimal(2 * place + 1) * (1 << _TABLE_STEP_BITS) / (2 * ONE)  # the middle of a step
        entries.append(int((_value(name, x) * ONE).to_integral_value(context=_CONTEXT)))
    return np.array(entries, dtype=np.int64)


def _value(name: Table, x: Decimal) -> Decimal:
    if name == "exp_half":
        return _CONTEXT.exp(x / 2)
    if name == "sigmoid":
        return _CONTEXT.divide(Decimal(1), 1 + _CONTEXT.exp(-x))
    square = _CONTEXT.exp(2 * x)
    return _CONTEXT.divide(square - 1, square + 1)
