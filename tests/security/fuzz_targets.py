"""What is fuzzed: both clouds' calls, the wire, and every parser of files. Each target makes one input."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
from PIL import Image

from cloud_s2.models import ModelsS2
from tests.crypto_keys import secret_key, toy
from tests.security import mutate
from tests.security.peers import Between
from tests.security.test_client_vectors import called
from tests.security.test_wire_vectors import Serving
from tests.security.world import OWNER, S1, USER, World, finish, tiny_model, tiny_plan
from twinveil import answers, config
from twinveil.card import ModelCard
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.garbling.base_ot import BaseSender
from twinveil.garbling.evaluator import evaluate
from twinveil.garbling.garbler import garble
from twinveil.images import load_picture
from twinveil.model_files import load_model, save_model
from twinveil.net.chunks import Assembler, Limits, cut, parse
from twinveil.net.identity import from_certificate
from twinveil.net.peer import Peer
from twinveil.net.servicers import InferenceServicer, ProvisionServicer
from twinveil.pinning import pinned_key
from twinveil.plan import Plan
from twinveil.protocol.circuits import label
from twinveil.rpc import rounds_pb2 as pb
from twinveil.rpc.provision_pb2 import ModelChunk
from twinveil.settings import EVERY_SETTING, CloudS1Settings, CloudS2Settings
from twinveil.store import Record

Target = Callable[[random.Random], None]

CARD = {
    "name": "tiny",
    "version": "1",
    "data_set": "digits",
    "image_shape": [1, 3, 3],
    "class_names": ["a", "b"],
    "polarity": "any",
    "crop": "none",
    "seed": 1,
    "epochs": 1,
    "training_pictures": 10,
    "held_out_pictures": 10,
    "accuracy_float": 0.5,
    "accuracy_fixed": 0.5,
    "plan_hash": tiny_plan().hash.hex(),
    "twinveil_version": "1",
}
SETTINGS = """
log_level = "info"
max_calls = 8
[cloud_s1]
listen = "127.0.0.1:7001"
insecure_plaintext = true
round_deadline = "30s"
prepare = 1
max_message = "4MiB"
"""


def targets(folder: Path) -> dict[str, Target]:
    """Every target by name; `folder` is theirs."""
    world = World(folder / "clouds")
    world.outsource(tiny_model(), engines=("packed", "textbook"))
    found: dict[str, Target] = {}
    for group in (
        _calls(world),
        _wire(world),
        _parsers(folder),
        _files(folder, world),
        _conversations(world),
    ):
        found |= dict(group)
    return found


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
            protocol_version=1,
            session_id=bytes(16),
            import_id=import_id,
            plan_hash=tiny_plan().hash,
            engine="packed",
            pictures=1,
        )
    )
    opening_import = pb.Round(open_import=pb.OpenImport(protocol_version=1, import_id=import_id))
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
    yield "rounds", lambda source: _void(parse(mutate.of_bytes(opening.SerializeToString(), source)))
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
            handler.remove_model(header.model, header.version)

    yield "queries", queries
    yield "imports", imports


def _void(_: object) -> None:
    """For targets that only must not crash."""


def _text(value: Any, source: random.Random) -> str:
    """JSON of a mutated value, now and then with mutated text."""
    for _ in range(source.randint(1, 3)):
        value = mutate.of_value(value, source)
    text = json.dumps(value)
    return mutate.of_bytes(text.encode(), source).decode(errors="replace") if source.random() < 0.2 else text


def _parsers(folder: Path) -> Iterator[tuple[str, Target]]:
    """Texts from clients, peers and disks."""
    key, plan = secret_key(), tiny_plan()
    public, private = key.public_key.to_jwk(), key.to_jwk()
    record = json.loads(Record("m", "1", bytes(16), plan, ("packed",), False, "00").to_json("00"))
    pin = folder / "pin"
    pin.write_text(key.public_key.fingerprint)

    def jwk(source: random.Random) -> None:
        PublicKey.from_jwk(_object(public, source), toy())

    def secret(source: random.Random) -> None:
        SecretKey.from_jwk(_object(private, source), toy())

    def pinned(source: random.Random) -> None:
        channel = cast("grpc.Channel", Serving(_text(public, source)))
        pinned_key(channel, pin, insecure_small_key=True)

    def answer(source: random.Random) -> None:
        half = mutate.of_bytes(bytes(8), source)
        source.choice((answers.class_vectors, answers.labels))(half, bytes(8), plan, source.choice((1, 2)))

    yield "plans", lambda source: _void(Plan.from_json(_text(plan.to_dict(), source)))
    yield "cards", lambda source: _void(ModelCard.from_json(_text(CARD, source)))
    yield "records", lambda source: _void(Record.from_json(_text(record, source)))
    yield "public-keys", jwk
    yield "secret-keys", secret
    yield "served-keys", pinned
    yield "answers", answer
    yield "certificates", lambda source: _void(from_certificate(mutate.of_bytes(PEM, source)))


def _object(value: Any, source: random.Random) -> Any:
    """A mutated value that is still an object: what is none is refused before."""
    changed = mutate.of_value(value, source)
    return changed if isinstance(changed, dict) else value


PEM = b"-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ\n-----END CERTIFICATE-----\n"


def _files(folder: Path, world: World) -> Iterator[tuple[str, Target]]:
    """Whole files on disk."""
    pictures = []
    for kind in ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP"):
        file = io.BytesIO()
        Image.fromarray(np.arange(144, dtype=np.uint8).reshape(12, 12)).save(file, kind)
        pictures.append(file.getvalue())
    card = ModelCard.from_json(json.dumps(CARD))
    model, settings, state = folder / "model", folder / "settings.toml", folder / "state"
    save_model(model, tiny_model(), card)
    kept = {path: path.read_bytes() for path in sorted(model.iterdir())}
    shutil.copytree(world.root / "s2", state)
    stored = {path: path.read_bytes() for path in sorted(state.rglob("*")) if path.is_file()}

    def picture(source: random.Random) -> None:
        load_picture(mutate.of_bytes(source.choice(pictures), source), card)

    def files(source: random.Random) -> None:
        path = source.choice(list(kept))
        path.write_bytes(mutate.of_bytes(kept[path], source))
        try:
            load_model(model)
        finally:
            path.write_bytes(kept[path])

    def store(source: random.Random) -> None:
        path = source.choice(list(stored))
        path.write_bytes(mutate.of_bytes(stored[path], source))
        try:
            models = ModelsS2(state)
            for record in models.store.records():
                models.load(record.import_id)
            models.store.find("tiny", "1")
        finally:
            path.write_bytes(stored[path])

    def toml(source: random.Random) -> None:
        settings.write_bytes(mutate.of_bytes(SETTINGS.encode(), source))
        kind, section = source.choice(((CloudS1Settings, "cloud_s1"), (CloudS2Settings, "cloud_s2")))
        config.settle(kind, section, {"config": os.fspath(settings)}, {}, EVERY_SETTING)  # type: ignore[type-var]

    yield "pictures", picture
    yield "model-files", files
    yield "store", store
    yield "settings", toml
