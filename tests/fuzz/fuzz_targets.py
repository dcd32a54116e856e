"""What is fuzzed: whole conversations, all RPCs, files on disk; and here the wire between the clouds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.fuzz import mutate
from tests.fuzz.fuzz_calls import calls
from tests.fuzz.fuzz_disk import disk
from tests.fuzz.fuzz_files import Target, parsers
from tests.fuzz.fuzz_steps import conversations
from tests.security.world import S1, World, tiny_model
from twinveil.garbling.base_ot import BaseSender
from twinveil.garbling.evaluator import evaluate
from twinveil.garbling.garbler import garble
from twinveil.protocol.textbook.circuits import label
from twinveil.rounds.chunks import Assembler, cut, parse
from twinveil.rounds.scripted import ROUNDS_VERSION
from twinveil.rpc import rounds_pb2 as pb


def targets(folder: Path) -> Iterator[tuple[str, Target]]:
    """Every target by name, made when its turn comes; `folder` is theirs."""
    world = World(folder / "clouds")
    world.outsource(tiny_model(), engines=("packed", "textbook"))
    yield from conversations(folder, world)
    yield from calls(folder, world)
    yield from _wire(world)
    yield from parsers(folder)
    yield from disk(folder, world)


def _wire(world: World) -> Iterator[tuple[str, Target]]:
    """The stream between the clouds, and the values that travel on it."""
    import_id = world.models1.store.find("tiny", "1").import_id
    opening = pb.Round(
        open_query=pb.OpenQuery(
            protocol_version=ROUNDS_VERSION,
            session_id=bytes(16),
            import_id=import_id,
            layout=world.models1.store.find("tiny", "1").layouts.textbook.digest,
        )
    )
    opening_import = pb.Round(
        open_import=pb.OpenImport(protocol_version=ROUNDS_VERSION, session_id=bytes(16), import_id=import_id)
    )
    opening_items = pb.Round(
        open_items=pb.OpenItems(
            protocol_version=ROUNDS_VERSION,
            session_id=bytes(16),
            import_id=import_id,
            binding=bytes(32),
            base_ot=BaseSender(b"session").first(),
        )
    )
    spend = pb.Round(
        spend=pb.Spend(
            protocol_version=ROUNDS_VERSION,
            import_id=import_id,
            bind=pb.Bind(query_id=bytes(16), binding=bytes(32)),
            items=[pb.Spend.Item(session_id=bytes(16), number=number) for number in range(3)],
        )
    )
    bodies = [each.name for each in pb.Round.DESCRIPTOR.fields]

    def openings(source: random.Random) -> None:
        message = mutate.of_message(source.choice((opening, opening_import, opening_items, spend)), source)
        if source.random() < 0.1:
            message = pb.Round()
            getattr(message, source.choice(bodies)).SetInParent()
        conversation = world.conversations.open(S1)
        conversation.handle(message)
        conversation.handle(mutate.of_message(pb.Round(prepare=pb.Prepare(base_ot=bytes(4096))), source))

    def stream(source: random.Random) -> None:
        assembler = Assembler(1 << 16)
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
