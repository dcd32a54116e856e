"""Bytes in a fixed order: numbers are big-endian, everything of variable length has its length before it."""

from __future__ import annotations

from twinveil.errors import InvalidMessage


def number(value: int, size: int) -> bytes:
    """An unsigned number in `size` bytes. Raises InvalidMessage if it does not fit."""
    try:
        return value.to_bytes(size, "big")
    except OverflowError:
        raise InvalidMessage(f"a number does not fit into {size} bytes") from None


def sized(value: bytes, size: int) -> bytes:
    """The length in `size` bytes, then the value."""
    return number(len(value), size) + value


class Reader:
    """Takes bytes apart again; InvalidMessage for anything that the other side could not have written."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    @property
    def at(self) -> int:
        """Bytes read so far."""
        return self._at

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise InvalidMessage(f"{self._what} ends early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self, size: int, least: int, most: int) -> bytes:
        """A value with its length in `size` bytes before it; the length must be from least to most."""
        length = self.number(size)
        if not least <= length <= most:
            raise InvalidMessage(f"{self._what} has a part of {length} bytes")
        return self.take(length)

    def end(self) -> None:
        if self._at != len(self._data):
            raise InvalidMessage(f"{self._what} has more bytes than it should")
