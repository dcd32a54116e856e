"""The C extension trusts no length, index or address: what does not fit is refused, and nothing happens."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("twinveil.crypto.native._lanes", reason="the native extension is not built")

from twinveil.crypto.native import _lanes
from twinveil.crypto.native.lanes import LAYOUTS, Lanes, Layout

ROOT = Path(__file__).parents[2]
N = mpz((1 << 256) - 189)
COUNT = 5

pytestmark = pytest.mark.skipif(not LAYOUTS, reason="this processor has no native level")


def calls(layout: Layout) -> dict[str, list[Any]]:
    """Right arguments of every operation, in which places 2 and on are buffers and numbers."""
    on = Lanes(N, layout)
    a = on.load(bytes(COUNT * on.size))
    forms = np.concatenate([a, a[:, : on._pitch]], axis=1)
    halves = np.ascontiguousarray(a[:, : on._pitch])
    moduli = np.tile(on._modulus, 2)
    index = np.zeros((3, COUNT), np.uint32)
    digits = np.zeros((COUNT, COUNT), np.uint8)
    which = np.array([0, 1, 1, 0, 1], np.uint8)
    start: list[Any] = [layout.name, on.limbs]
    return {
        "load": [*start, on._modulus, on._shifts, bytes(COUNT * on.size), np.empty_like(a), on.size],
        "store": [*start, on._modulus, a, bytearray(COUNT * on.size), on.size],
        "multiply": [*start, on._modulus, a, a, np.empty_like(a), 1],
        "square": [*start, on._modulus, a, np.empty_like(a), 3],
        "fold": [*start, on._modulus, np.tile(a, (2, 1)), np.empty_like(a), 2],
        "add_plain": [*start, on._modulus, a, bytes(COUNT * on.half_size), np.empty_like(a), on.half_size],
        "power": [
            *start,
            *(moduli, np.tile(on._one, (2, 1)), which, a, np.zeros((COUNT, 4), np.uint8)),
            np.empty_like(a),
        ],
        "multiply_n": [*start, on._modulus, halves, halves, np.empty_like(halves)],
        "multiply_normal": [*start, on._modulus, forms, forms, np.empty_like(forms), 1],
        "gather": [*start, on._modulus, a, index, np.empty_like(a)],
        "buckets": [*start, on._modulus, on._one, a, digits, np.empty_like(a), 16],
    }


OPERATIONS = (
    *("load", "store", "multiply", "square", "fold", "add_plain", "power", "multiply_n", "multiply_normal"),
    *("gather", "buckets"),
)


@pytest.fixture(params=LAYOUTS, ids=lambda layout: layout.name)
def layout(request: pytest.FixtureRequest) -> Layout:
    found: Layout = request.param
    return found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_right_arguments_are_taken(layout: Layout, operation: str) -> None:
    assert getattr(_lanes, operation)(*calls(layout)[operation]) is None


def resized(buffer: Any, change: int) -> Any:
    """The same buffer some bytes longer or shorter."""
    data = bytearray(memoryview(buffer).cast("B") if isinstance(buffer, np.ndarray) else buffer)
    return data + bytes(change) if change >= 0 else data[:change]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_buffer_of_another_length_is_taken(layout: Layout, operation: str) -> None:
    row = Lanes(N, layout)._one.nbytes
    arguments = calls(layout)[operation]
    buffers = [at for at in range(2, len(arguments)) if not isinstance(arguments[at], int)]
    for at in buffers:
        # Other counts of moduli, table rows, windows and steps are other calls, and right
        free = {"power": (6,), "gather": (3, 4), "fold": ()}.get(operation, ())
        for change in (-1, 1, -8, 8, -row, row, 3 * row):
            if at in free and change not in (-1, 1):
                continue
            wrong = list(arguments)
            wrong[at] = resized(arguments[at], change)
            with pytest.raises(ValueError, match=r"."):
                getattr(_lanes, operation)(*wrong)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_other_arguments_are_taken(layout: Layout, operation: str) -> None:
    call, arguments = getattr(_lanes, operation), calls(layout)[operation]
    for wrong in (arguments[:-1], [*arguments, 1]):
        with pytest.raises(ValueError, match=r"arguments"):
            call(*wrong)
    for name in ("", "gmpy2", layout.name + "x"):
        with pytest.raises(ValueError, match=r"level"):
            call(name, *arguments[1:])
    for limbs in (-layout.block, 0, 1, layout.max_limbs + layout.block, 1 << 40):
        with pytest.raises(ValueError, match=r"limbs"):
            call(layout.name, limbs, *arguments[2:])
    with pytest.raises(ValueError, match=r"fit|rows|numbers|serve|index"):
        call(layout.name, arguments[1] + layout.block * 8, *arguments[2:])
    for wrong_type in (None, 1.5, "text"):
        for at in range(len(arguments)):
            with pytest.raises((TypeError, ValueError)):
                call(*arguments[:at], wrong_type, *arguments[at + 1 :])
    output = max(at for at in range(2, len(arguments)) if not isinstance(arguments[at], int))
    with pytest.raises((BufferError, ValueError, TypeError)):
        call(*arguments[:output], bytes(arguments[output]), *arguments[output + 1 :])
    if isinstance(arguments[-1], int):
        for number in (-1, 1 << 33, 1 << 70):
            with pytest.raises((ValueError, OverflowError)):
                call(*arguments[:-1], number)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_words_are_aligned(layout: Layout, operation: str) -> None:
    """A number in the middle of two words is undefined behaviour in C."""
    arguments = calls(layout)[operation]
    for at, argument in enumerate(arguments):
        if isinstance(argument, np.ndarray) and argument.itemsize > 1:
            raw = np.empty(argument.nbytes + 1, np.uint8)
            with pytest.raises(ValueError, match=r"aligned"):
                getattr(_lanes, operation)(*arguments[:at], raw[1:], *arguments[at + 1 :])


def test_no_other_rows_are_read(layout: Layout) -> None:
    gather, buckets, power = (calls(layout)[each] for each in ("gather", "buckets", "power"))
    gather[4][2, 4] = COUNT
    with pytest.raises(ValueError, match=r"no such row"):
        _lanes.gather(*gather)
    buckets[5][4, 4] = 16
    with pytest.raises(ValueError, match=r"no such bucket"):
        _lanes.buckets(*buckets)
    for size in (0, 1, 257):
        with pytest.raises(ValueError, match=r"2 to 256"):
            _lanes.buckets(*buckets[:-1], size)
    power[4][4] = 2
    with pytest.raises(ValueError, match=r"no such modulus"):
        _lanes.power(*power)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_buffers_are_let_go(layout: Layout, operation: str) -> None:
    """Whatever comes of a call, none of its buffers is held afterwards: all can be resized."""
    right = [
        resized(each, 0) if not isinstance(each, int | str) else each for each in calls(layout)[operation]
    ]
    short = [resized(each, -1) if isinstance(each, bytearray) else each for each in right]
    for arguments in (right, short, [*right, 1]):
        with contextlib.suppress(ValueError):
            getattr(_lanes, operation)(*arguments)
        for each in arguments:
            if isinstance(each, bytearray):
                each.append(0)
                each.pop()


def test_nothing_is_done_for_no_numbers(layout: Layout) -> None:
    on = Lanes(N, layout)
    none = on.load(b"")
    assert none.shape == on.load(bytes(on.size))[:0].shape
    assert on.store(on.multiply(none, none)) == b""
    assert on.store(on.power([(on, none, [])], 5)[0]) == b""
    assert on.store(on.gather(on._one, np.zeros((3, 0), np.uint32))) == b""


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_lengths(data: st.DataObject) -> None:
    """Buffers of random lengths: done, or refused with one of the planned errors."""
    layout = data.draw(st.sampled_from(LAYOUTS))
    operation = data.draw(st.sampled_from(OPERATIONS))
    arguments = calls(layout)[operation]
    rng = random.Random(data.draw(st.integers()))
    for at in range(2, len(arguments)):
        if isinstance(arguments[at], int):
            arguments[at] = data.draw(st.integers(0, 300))
        elif data.draw(st.booleans()):
            unit = data.draw(st.sampled_from([1, 4, 8, Lanes(N, layout)._one.nbytes]))
            arguments[at] = bytearray(rng.randbytes(unit * data.draw(st.integers(0, 12))))
    with contextlib.suppress(ValueError):
        getattr(_lanes, operation)(*arguments)


SEARCH = """
import mmap
import sys
from gmpy2 import mpz
from twinveil.crypto.native.lanes import LAYOUTS, Lanes

def found(pattern):
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in maps:
            if "[heap]" in line:
                start, end = (int(each, 16) for each in line.split()[0].split("-"))
                copy = mmap.mmap(-1, end - start)  # elsewhere: the heap stays as it is
                memory.seek(start)
                memory.readinto(copy)
                return copy.find(pattern) >= 0

on = Lanes(mpz((1 << 1024) - 105), LAYOUTS[int(sys.argv[1])])
a = on.load(bytes(range(1, 1 + on.size // 256)) * 256 * 8)
# How a modulus stands in the scratch: a limb once for each lane. Objects this small are not on the heap.
pattern = int(on._modulus[0]).to_bytes(8, "little") * on.layout.lanes
on.power([(on, a, [(1 << 512) - 1] * len(a))], 512)
print(found(pattern))
kept = bytearray(pattern * 100)
print(found(pattern))
"""


def test_scratch_is_wiped(layout: Layout) -> None:
    """Secret moduli and tables do not stay in freed memory; the control: what is kept is found."""
    if not Path("/proc/self/mem").exists():
        pytest.skip("memory is not searched without /proc/self/mem")
    command = [sys.executable, "-c", SEARCH, str(LAYOUTS.index(layout))]
    # The C library gives nothing back to the system meanwhile
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    }
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    assert shown.stdout.split() == ["False", "True"]
