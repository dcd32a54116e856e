"""The C extension, see module.c: buffers of whole rows, ValueError for what does not fit."""

from typing import Any

from numpy.typing import NDArray

Buffer = NDArray[Any] | bytes | bytearray | memoryview

def levels() -> list[tuple[str, int, int, int, int, int]]: ...
def load(
    level: str, limbs: int, modulus: Buffer, shifts: Buffer, data: Buffer, out: Buffer, size: int, /
) -> None: ...
def store(level: str, limbs: int, modulus: Buffer, a: Buffer, out: Buffer, size: int, /) -> None: ...
def multiply(
    level: str, limbs: int, modulus: Buffer, a: Buffer, b: Buffer, out: Buffer, turns: int, /
) -> None: ...
def square(level: str, limbs: int, modulus: Buffer, a: Buffer, out: Buffer, times: int, /) -> None: ...
def fold(level: str, limbs: int, modulus: Buffer, a: Buffer, out: Buffer, width: int, /) -> None: ...
def add_plain(
    level: str, limbs: int, modulus: Buffer, a: Buffer, data: Buffer, out: Buffer, size: int, /
) -> None: ...
def power(
    level: str,
    limbs: int,
    moduli: Buffer,
    ones: Buffer,
    which: Buffer,
    a: Buffer,
    windows: Buffer,
    out: Buffer,
    /,
) -> None: ...
def multiply_n(level: str, limbs: int, modulus: Buffer, a: Buffer, b: Buffer, out: Buffer, /) -> None: ...
def multiply_normal(
    level: str, limbs: int, modulus: Buffer, a: Buffer, b: Buffer, out: Buffer, turns: int, /
) -> None: ...
def gather(level: str, limbs: int, modulus: Buffer, table: Buffer, index: Buffer, out: Buffer, /) -> None: ...
def buckets(
    level: str,
    limbs: int,
    modulus: Buffer,
    one: Buffer,
    factors: Buffer,
    digits: Buffer,
    out: Buffer,
    size: int,
    /,
) -> None: ...
