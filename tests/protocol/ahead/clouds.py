"""Both clouds of the packed engine in one process, over MemoryPeer: imports, items, pictures."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from typing import TypeVar, cast

from tests.crypto_keys import secret_key
from twinveil.net.counted import CountedPeer
from twinveil.net.memory import MemoryPeer
from twinveil.parallel import INLINE, Workers
from twinveil.plan import QuantisedModel
from twinveil.protocol.ahead.model import s1 as model_s1
from twinveil.protocol.ahead.model import s2 as model_s2
from twinveil.protocol.ahead.model.layout import ModelLayout
from twinveil.protocol.ahead.powers import Machine
from twinveil.protocol.conversation import Script, Scripted
from twinveil.protocol.observer import NOBODY, Observer
from twinveil.ring_halves import blind_model, read_model_half
from twinveil.rpc import rounds_pb2 as pb

Result = TypeVar("Result")


def finish(work: Generator[object, None, Result]) -> Result:
    """A generator's result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return cast("Result", end.value)


class Imported:
    """A model at both clouds. halves: what the owner sent, instead of what an honest one sends."""

    def __init__(
        self,
        model: QuantisedModel,
        key_bits: int = 512,
        halves: tuple[bytes, bytes] | None = None,
        workers: Workers = INLINE,
        observer: Observer = NOBODY,
    ) -> None:
        self.model = model
        self.secret = secret_key(key_bits)
        self.machine = Machine(self.secret.public_key, workers)
        self.import_id = secrets.token_bytes(16)
        self.layout = ModelLayout(model.plan, key_bits)
        self.observer = observer
        n = self.secret.public_key.n
        mine, theirs = (
            read_model_half(model.plan, key_bits, n, half)
            for half in halves or blind_model(model, key_bits, n)
        )
        kept: list[model_s2.ModelS2] = []

        def script(opening: pb.Round) -> Script:
            made = yield from model_s2.import_model(
                opening.open_import, self.layout, theirs, self.secret, INLINE, observer
            )
            kept.append(made)
            yield pb.Round(done=pb.Done())

        self.peer = CountedPeer(MemoryPeer(Scripted(script)))
        arguments = (self.import_id, bytes(32), self.layout, mine, self.machine)
        self.s1 = finish(model_s1.import_model(self.peer.ask, *arguments))
        self.peer.ask(pb.Round(commit=pb.Commit()))
        self.peer.close()
        self.s2 = kept[0]
