"""The second safety factor: when, where and how a picture was sealed. One encoding, and no other is read.

    {magic_num}{device_info}{sign_version}{timestamp}{counter}{random}
     4 bytes    length, name 2 bytes        8 bytes    8       16

magic_num is TVS1 and stands for this layout; sign_version says how the envelope is sealed and signed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twinveil.errors import InvalidMessage
from twinveil.sealing.wire import Reader, number, sized

MAGIC = b"TVS1"
RANDOM_BYTES = 16
MOST = (1 << 63) - 1
"""Of timestamps and counters: what an SQLite integer holds."""
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """device: the serial number of what took the picture. timestamp: milliseconds of Unix time."""

    device: str
    sign_version: int
    timestamp: int
    counter: int
    random: bytes

    def __post_init__(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise InvalidMessage("a device is named by 1 to 64 letters, digits, '.', '_' and '-'")
        if not 0 <= self.sign_version < 1 << 16:
            raise InvalidMessage("a sign_version has two bytes")
        if not (0 <= self.timestamp <= MOST and 0 <= self.counter <= MOST):
            raise InvalidMessage("a timestamp or counter is out of range")
        if len(self.random) != RANDOM_BYTES:
            raise InvalidMessage(f"the random part has {RANDOM_BYTES} bytes")

    def encode(self) -> bytes:
        return b"".join(
            (
                MAGIC,
                sized(self.device.encode(), 1),
                number(self.sign_version, 2),
                number(self.timestamp, 8),
                number(self.counter, 8),
                self.random,
            )
        )


def read_second_factor(reader: Reader) -> SecondFactor:
    """Raises InvalidMessage for anything that `encode` does not write."""
    if reader.take(4) != MAGIC:
        raise InvalidMessage("the magic number is another one")
    try:
        device = reader.sized(1, 1, 64).decode("ascii")
    except UnicodeDecodeError:
        raise InvalidMessage("a device's name is not ASCII") from None
    return SecondFactor(
        device, reader.number(2), reader.number(8), reader.number(8), reader.take(RANDOM_BYTES)
    )
