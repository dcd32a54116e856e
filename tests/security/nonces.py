"""What S1 sent and what S2 made in real conversations, as logarithms of nonces; what is found in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import gmpy2

from tests.security.chances import LIMIT, SPREAD_LIMIT, independence, spread, uniformity
from tests.security.peers import Watching
from tests.security.round_vectors import CIPHERTEXTS
from tests.security.smooth import P_PRIMES, Q_PRIMES, SmoothKey
from twinveil.rpc import rounds_pb2 as pb

POWERS = range(1, 2049)


@dataclass
class Nonces:
    """Ciphertexts by the step that carried them."""

    key: SmoothKey
    sent: dict[str, list[int]] = field(default_factory=dict)
    made: list[int] = field(default_factory=list)

    def add(self, peer: Watching) -> None:
        width = self.key.secret.public_key.ciphertext_bytes
        for message in peer.requests:
            for body, data in _fields(message):
                self.sent.setdefault(body, []).extend(numbers(data, width))
        for message in peer.replies:
            for _, data in _fields(message):
                self.made.extend(numbers(data, width))

    def findings(self, halves: Sequence[int] = ()) -> set[str]:
        """What tells the sent nonces from fresh uniform ones. halves: exponents that clients sent to S1."""
        found: set[str] = set()
        residue = {self._residue(c) for c in self.made}
        if any(self._residue(c) in residue for each in self.sent.values() for c in each):
            found.add("S2's own nonce")
        if any(self.key.jacobi(c)[0] != self.key.jacobi(c)[1] for each in self.sent.values() for c in each):
            return found | {"a nonce outside <h>"}
        made = [self.key.log(c) for c in self.made]
        known = {u * k % self.key.order for u, k in product(made, POWERS)}
        known |= {u * a % self.key.order for u, a in product(made, halves)}
        logs = {body: [self.key.log(c) for c in each] for body, each in self.sent.items()}
        if known & {s for each in logs.values() for s in each}:
            found.add("a power of S2's own nonce")
        for each in logs.values():
            if spread(each, self.key.order) > SPREAD_LIMIT:
                found.add("not uniform")
        together = [s for each in logs.values() for s in each]
        return found | set(self._characters(together, made))

    def _characters(self, sent: Sequence[int], made: Sequence[int]) -> Iterator[str]:
        """Jacobi symbols and small-prime characters: uniform, and independent of S2's own."""
        paired = [made[index % len(made)] for index in range(len(sent))]
        for prime in (2, *P_PRIMES, *Q_PRIMES):
            own = [s % prime for s in sent]
            if uniformity(own, prime) > LIMIT:
                yield f"characters of order {prime} are not uniform"
            if prime <= 5 and independence(own, [u % prime for u in paired], prime) > LIMIT:
                yield f"characters of order {prime} follow S2's own"

    def _residue(self, ciphertext: int) -> int:
        """The nonce itself: (1 + m N) vanishes modulo N."""
        return int(ciphertext % self.key.secret.public_key.n)


def full_findings(key: SmoothKey, sent: Sequence[int]) -> set[str]:
    """For nonces r^N, r uniform in Z*_N: both quadratic characters and all small ones are uniform."""
    found = set()
    if uniformity([key.jacobi(c) for c in sent], 4) > LIMIT:
        found.add("quadratic characters are not uniform")
    for p, primes in ((key.p, P_PRIMES), (key.q, Q_PRIMES)):
        for prime in primes:
            if uniformity([int(gmpy2.powmod(c, (p - 1) // prime, p)) for c in sent], prime) > LIMIT:
                found.add(f"characters of order {prime} are not uniform")
    return found


def _fields(message: pb.Round) -> Iterator[tuple[str, bytes]]:
    body = str(message.WhichOneof("body"))
    for name in CIPHERTEXTS.get(body, ()):
        yield body, getattr(getattr(message, body), name)


def numbers(data: bytes, width: int) -> Iterator[int]:
    return (int.from_bytes(data[at : at + width], "big") for at in range(0, len(data), width))


def halves_of(data: Mapping[str, bytes] | bytes, width: int) -> list[int]:
    """A client's half as the exponents that S1 uses."""
    parts = data.values() if isinstance(data, Mapping) else [data]
    return [number for part in parts for number in numbers(part, width)]
