"""What a cloud gets to see, told to an observer as it comes.

An observer changes nothing and answers nothing: the protocol runs the same with and without one. It is told
of the few places where something reaches a cloud: a message of the other cloud, a client's half, a
plaintext that S2 decrypted, a circuit's output, the half of an answer that S2 hands out; and of what a cloud
has once its own masks are off, for that shows more than the message that it came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.network.plan import Plan
from twinveil.rpc import rounds_pb2 as pb


@dataclass(frozen=True, slots=True)
class Topic:
    """What a conversation is about; all of it is public. kind: "import", "items" or "query"."""

    kind: str
    plan: Plan
    engine: str
    pictures: int
    n: mpz
    sigma: int


@dataclass(frozen=True, slots=True)
class Masking:
    """What hides a plaintext: s uniform in [offset, offset + 2^bits)."""

    bits: int
    offset: int = 0


class Observer(Protocol):
    """One cloud's eyes in one conversation."""

    def about(self, topic: Topic) -> None:
        """The conversation has been opened."""

    def received(self, message: pb.Round) -> None: ...

    def sent(self, message: pb.Round) -> None: ...

    def half(self, name: str, values: Sequence[mpz]) -> None:
        """A client's half: integers modulo N."""

    def half_words(self, name: str, words: npt.NDArray[np.uint64], bits: int) -> None:
        """A client's half: words of `bits` bits."""

    def shared(self, name: str, words: npt.NDArray[np.uint64], bits: int) -> None:
        """What a cloud has of values modulo 2^bits, under the other's mask alone, as the name says: S2 x - r
        of an activation, S1 x - u of it, y - rho of a sum, x xor rho of a picture."""

    def decrypted(self, name: str, plaintexts: Sequence[mpz], masking: Masking | None) -> None:
        """Plaintexts as S2 has them; masking None: an operand that is uniform modulo N."""

    def evaluated(self, outputs: Mapping[str, npt.NDArray[np.bool_]]) -> None:
        """A circuit's outputs, (bits, *shape) each."""

    def answered(self, words: npt.NDArray[np.uint64], bits: int) -> None:
        """S2's half of the answer: integers modulo 2^bits."""

    def close(self) -> None:
        """The conversation is over; called once."""


class Blind:
    """The observer that sees nothing."""

    def about(self, topic: Topic) -> None: ...

    def received(self, message: pb.Round) -> None: ...

    def sent(self, message: pb.Round) -> None: ...

    def half(self, name: str, values: Sequence[mpz]) -> None: ...

    def half_words(self, name: str, words: npt.NDArray[np.uint64], bits: int) -> None: ...

    def shared(self, name: str, words: npt.NDArray[np.uint64], bits: int) -> None: ...

    def decrypted(self, name: str, plaintexts: Sequence[mpz], masking: Masking | None) -> None: ...

    def evaluated(self, outputs: Mapping[str, npt.NDArray[np.bool_]]) -> None: ...

    def answered(self, words: npt.NDArray[np.uint64], bits: int) -> None: ...

    def close(self) -> None: ...


NOBODY: Observer = Blind()
