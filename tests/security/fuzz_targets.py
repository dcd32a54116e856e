"""What is fuzzed: both clouds' calls, the wire, whole conversations; fuzz_files.py has the parsers."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.security import mutate
from tests.security.fuzz_files import parsers, whole_files
from tests.security.peers import Between
from tests.security.stand_ins import called
from tests.security.world import OWNER, S1, USER, World, finish, tiny_model, tiny_plan
from twinveil.garbling.base_ot import BaseSender
from twinveil.garbling.evaluator import evaluate
from twinveil.garbling.garbler import garble
from twinveil.net.chunks import Assembler, Limits, cut, parse
from twinveil.net.peer import Peer
from twinveil.net.servicers import InferenceServicer, ProvisionServicer
from twinveil.protocol.circuits import label
from twinveil.protocol.model.layout import PROTOCOL_VERSION
from twinveil.rpc import rounds_pb2 as pb
from twinveil.rpc.provision_pb2 import ModelChunk

Target = Callable[[random.Random], None]


def targets(folder: Path) -> dict[str, Target]:
    """Every target by name; `folder` is theirs."""
    world = World(folder / "clouds")
    world.outsource(tiny_model(), engines=("packed", "textbook"))
    found = dict(_calls(world)) | dict(_wire(world)) | dict(parsers(folder))
    return found | dict(whole_files(folder, world)) | dict(_conversations(world))


def _calls(world: World) -> Iterator[tuple[str, Target]]:
    """Clients' calls, through the services of both clouds."""
    plan, halves = tiny_plan(), world.halves(tiny_model())
    query, header = world.query(plan), world.header(plan, "new")

    def classify(handler: Any, honest: Any) -> Target:
        servicer = InferenceServicer(handler)

        def target(source: random.Random) -> None:
            sent = mutate.of_message(honest, source)
            sent.query_id = sent.query_id if len(sent.query_id) != 16 else source.randbytes(16)
            work = servicer.Classify(sent, called(USER))
            next(work)
            work.close()  # type: ignore[attr-defined]

        return target

    def outsource(handler: Any, half: bytes) -> Target:
        servicer = ProvisionServicer(handler)

        def target(source: random.Random) -> None:
            pieces = [ModelChunk(header=header), ModelChunk(data=half)]
            at = source.randrange(2)
            pieces[at] = mutate.of_message(pieces[at], source)
            if source.random() < 0.1:
                pieces.insert(source.randrange(3), source.choice(pieces))
            # An unchanged model would be imported, which is not what is tried here.
            if pieces[0].header.SerializeToString() == header.SerializeToString() and half == pieces[-1].data:
                return
            pieces[0].header.import_id = pieces[0].header.import_id[:-8] + source.randbytes(8)
            work = servicer.Outsource(iter(pieces), called(OWNER))
            next(work)
            work.close()  # type: ignore[attr-defined]

        return target

    yield "classify-s1", classify(world.queries1, query.s1)
    yield "classify-s2", classify(world.queries2, query.s2)
    yield "outsource-s1", outsource(world.provision1, halves[0])
    yield "outsource-s2", outsource(world.provision2, halves[1])


def _wire(world: World) -> Iterator[tuple[str, Target]]:
    """The stream between the clouds, and the values that travel on it."""
    import_id = world.models1.store.find("tiny", "1").import_id
    opening = pb.Round(
        open_query=pb.OpenQuery(
            protocol_version=PROTOCOL_VERSION,
            session_id=bytes(16),
            import_id=import_id,
            layout=world.models1.store.find("tiny", "1").layout.digest,
            engine="packed",
            pictures=1,
        )
    )
    opening_import = pb.Round(
        open_import=pb.OpenImport(protocol_version=PROTOCOL_VERSION, import_id=import_id)
    )
    bodies = [each.name for each in pb.Round.DESCRIPTOR.fields]

    def openings(source: random.Random) -> None:
        message = mutate.of_message(source.choice((opening, opening_import)), source)
        if source.random() < 0.1:
            message = pb.Round()
            getattr(message, source.choice(bodies)).SetInParent()
        conversation = world.conversations.open(S1)
        conversation.handle(message)
        conversation.handle(mutate.of_message(pb.Round(prepare=pb.Prepare(base_ot=bytes(4096))), source))

    def stream(source: random.Random) -> None:
        assembler = Assembler(Limits(1 << 16, 1 << 17))
        data = opening.SerializeToString()
        chunks = [chunk for sequence in range(3) for chunk in cut(data, sequence)]
        at = source.randrange(3)
        chunks[at] = mutate.of_message(chunks[at], source)
        for chunk in chunks:
            assembler.add(chunk)

    step = label(8, 3, 1)
    garbling = garble(step.program, step.garbler, step.evaluator, step.counts)
    own = garbling.garbler_labels({name: np.zeros(shape, np.bool_) for name, shape in step.garbler.items()})
    parts = (garbling.tables, own, garbling.evaluator_pairs()[:, 0].tobytes(), garbling.decode)

    def circuit(source: random.Random) -> None:
        sent = list(parts)
        at = source.randrange(4)
        sent[at] = mutate.of_bytes(sent[at], source)
        evaluate(step.program, step.garbler, step.evaluator, *sent, counts=step.counts)

    key, point = world.secret, BaseSender(b"session").first()
    honest = key.encrypt([1, 2, 3]).to_bytes()

    def transfers(source: random.Random) -> None:
        BaseSender(b"session").keys(mutate.of_bytes(point * 128, source)[: 128 * 32])

    def ciphertexts(source: random.Random) -> None:
        key.decrypt(key.public_key.parse(mutate.of_bytes(honest, source), 3))

    yield "openings", openings
    yield "chunks", stream
    yield "rounds", lambda source: mutate.void(parse(mutate.of_bytes(opening.SerializeToString(), source)))
    yield "garbled-circuits", circuit
    yield "base-transfers", transfers
    yield "ciphertexts", ciphertexts


class Bent(Between):
    """One message or one reply of the conversation is mutated on its way."""

    def __init__(self, inner: Peer, source: random.Random) -> None:
        super().__init__(inner)
        self._source, self._left = source, source.randrange(22)

    def ask(self, message: pb.Round) -> pb.Round:
        self._left -= 2
        if self._left == -2:
            message = mutate.of_message(message, self._source)
        reply = self.inner.ask(message)
        return mutate.of_message(reply, self._source) if self._left == -1 else reply


def _conversations(world: World) -> Iterator[tuple[str, Target]]:
    """Whole conversations, in which one of S1's messages or one of S2's replies is mutated."""
    plan, halves = tiny_plan(), world.halves(tiny_model())

    def end(work: Generator[object, None, object], waiting: Generator[object, None, object]) -> None:
        try:
            finish(work)
        finally:
            waiting.close()
            world.wrap = lambda peer: peer

    def queries(source: random.Random) -> None:
        world.wrap = lambda inner: Bent(inner, source)
        query = world.query(
            plan, engine=source.choice(("packed", "packed", "textbook")), label_only=source.random() < 0.5
        )
        waiting = world.queries2.classify(query.s2, USER)
        next(waiting)
        end(world.queries1.classify(query.s1, USER), waiting)

    def imports(source: random.Random) -> None:
        world.wrap = lambda inner: Bent(inner, source)
        header = world.header(plan, f"m{source.randrange(1 << 60)}")
        waiting = world.provision2.outsource(header, iter([halves[1]]), OWNER)
        next(waiting)
        end(world.provision1.outsource(header, iter([halves[0]]), OWNER), waiting)
        for handler in (world.provision1, world.provision2):
            handler.remove_model(header.model, header.version, OWNER)

    yield "queries", queries
    yield "imports", imports
