"""The C extension, see gates.c: buffers of whole labels, ValueError for what does not fit."""

from typing import Any

from numpy.typing import NDArray

Buffer = NDArray[Any] | bytes

SUPPORTED: int

def hash_labels(
    block: int, first: int, half: int, start_point: Buffer, labels: Buffer, out: Buffer, /
) -> None: ...
def garble_layer(
    block: int,
    first: int,
    ripple: int,
    start_point: Buffer,
    delta: Buffer,
    x: Buffer,
    y: Buffer,
    tables: Buffer,
    out: Buffer,
    /,
) -> None: ...
def open_layer(
    block: int,
    first: int,
    ripple: int,
    start_point: Buffer,
    x: Buffer,
    y: Buffer,
    tables: Buffer,
    out: Buffer,
    /,
) -> None: ...
def stream(counter: int, keys: Buffer, out: Buffer, /) -> None: ...
def transpose(rows: Buffer, out: Buffer, /) -> None: ...
