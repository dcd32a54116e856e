"""One life of both clouds on a folder, for tests that end it: python -m tests.security.life FOLDER STEP.

Prints the digest of every 16 bytes of one-time material that passes between the clouds, and kills itself
with SIGKILL right after S1's message STEP was answered; a negative STEP lives to the end of a query.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from pathlib import Path

from tests.security.peers import Between
from tests.security.world import World, tiny_model, tiny_plan
from twinveil.crypto.secret_key import SecretKey
from twinveil.params import Params
from twinveil.rounds.peer import Peer
from twinveil.rpc import rounds_pb2 as pb

ONE_TIME = (
    *("session_id", "base_ot", "base_ot_reply", "extension", "tables", "garbler_labels", "masked_labels"),
    *("labels", "words", "shares"),
)
CIPHERTEXTS = ("ciphertexts", "factors", "differences", "kernels")
PARAMS = Params(256, insecure_small_key=True)


class Telling(Between):
    """Prints what passes; ends the process after message `step` of all."""

    count = 0

    def __init__(self, inner: Peer, step: int) -> None:
        super().__init__(inner)
        self._step = step

    def ask(self, message: pb.Round) -> pb.Round:
        reply = self.inner.ask(message)
        for each in (message, reply):
            tell(each)
        if Telling.count == self._step:
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        Telling.count += 1
        return reply


def tell(message: pb.Round) -> None:
    for piece in one_time(message):
        print(digest(piece))


def digest(piece: bytes) -> str:
    return hashlib.sha256(piece).hexdigest()[:24]


def one_time(message: pb.Round) -> list[bytes]:
    """What serves once in a message: labels, transfers and tables by 16 bytes, ciphertexts by 64."""
    part, pieces = getattr(message, str(message.WhichOneof("body"))), []
    parts = [part, *part.circuits] if isinstance(part, pb.ItemOffer) else [part]
    for field, value in (each for part in parts for each in part.ListFields()):
        if field.name in ONE_TIME or field.name in CIPHERTEXTS:
            size = 64 if field.name in CIPHERTEXTS else 16
            pieces += [value[at : at + size] for at in range(0, len(value) - size + 1, size)]
    return pieces


def main() -> None:
    folder, step = Path(sys.argv[1]), int(sys.argv[2])
    key_file = folder / "key.json"
    if key_file.exists():
        world = World(folder, SecretKey.load(key_file, insecure_small_key=True))
    else:
        world = World(folder)
        world.secret.save(key_file)
        world.outsource(tiny_model())
    world.wrap = lambda inner: Telling(inner, step)
    world.ask(world.query(tiny_plan()))


if __name__ == "__main__":
    main()
