"""Both clouds in one process: the real protocol code of both sides over MemoryPeer, for tests."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from twinveil.crypto.keygen import generate
from twinveil.crypto.secret_key import SecretKey
from twinveil.halves import answers, blinding
from twinveil.network.plan import QuantisedModel
from twinveil.parallel import INLINE, Workers
from twinveil.params import Params
from twinveil.protocol.meter import Meter
from twinveil.protocol.model import s1 as model_s1
from twinveil.protocol.model import s2 as model_s2
from twinveil.protocol.model.layout import ImportLayout
from twinveil.protocol.query.binding import QueryHead
from twinveil.protocol.query.engines_s1 import query_s1
from twinveil.protocol.query.engines_s2 import query_s2
from twinveil.protocol.query.s1 import Tools
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.observed import ObservedConversation, ObservedPeer
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.scripted import Script, Scripted
from twinveil.rpc import rounds_pb2 as pb

Result = TypeVar("Result")


@cache
def key(bits: int) -> SecretKey:
    return generate(Params(bits, insecure_small_key=bits < 2048))


@dataclass
class Claimed:
    head: QueryHead
    half: list[object]
    answer: bytes = b""

    def deliver(self, answer: bytes) -> None:
        self.answer = answer


class Clouds:
    """A model at both clouds; classify() plays user, S1 and S2."""

    meter_s2: Meter
    """S2's figures of the last query."""

    def __init__(
        self,
        model: QuantisedModel,
        key_bits: int = 512,
        engines: tuple[str, ...] = ("packed",),
        workers: Workers = INLINE,
        observers: Callable[[str], Observer] = lambda role: NOBODY,
        sigma: int = 40,
        workers_s2: Workers = INLINE,
    ) -> None:
        self.observers = observers
        self.workers_s2 = workers_s2
        self.params = Params(key_bits, sigma, insecure_small_key=key_bits < 2048)
        self.secret, self.model, self.engines = key(key_bits), model, engines
        self.public = self.secret.public_key
        self.import_id = secrets.token_bytes(16)
        self.layout = ImportLayout(model.plan, self.params, engines)
        self.tools = Tools(self.public, workers, self.params)
        self.s1, self.s2 = self._import()

    def _import(self) -> tuple[model_s1.ModelS1, model_s2.ModelS2]:
        halves: tuple[dict[str, object], dict[str, object]] = ({}, {})
        for node in self.model.plan.linear_nodes:
            weights, biases = self.layout.segments(node)
            pairs = [
                blinding.blind_values(
                    blinding.offset_binary(values[node.name], segment.bits), segment, self.public.n
                )
                for segment, values in ((weights, self.model.weights), (biases, self.model.biases))
            ]
            for side in (0, 1):
                halves[side][node.name] = tuple(
                    blinding.decode(pair[side], segment, self.public.n)
                    for pair, segment in zip(pairs, (weights, biases), strict=True)
                )
        kept: list[model_s2.ModelS2] = []

        def script(opening: pb.Round) -> Script:
            model = yield from model_s2.import_model(
                opening.open_import, self.layout, halves[1], self.secret, INLINE, s2
            )
            kept.append(model)
            yield pb.Round(done=pb.Done())

        s1, s2 = self.observers("cloud_s1"), self.observers("cloud_s2")
        peer = ObservedPeer(MemoryPeer(ObservedConversation(Scripted(script), s2)), s1)
        made = finish(
            model_s1.import_model(
                peer.ask, self.import_id, bytes(32), self.layout, halves[0], self.public, INLINE, s1
            )
        )
        peer.ask(pb.Round(commit=pb.Commit()))
        peer.close()
        return made, kept[0]

    def classify(
        self,
        images: npt.NDArray[np.uint8],
        engine: str = "packed",
        label_only: bool = False,
        look: Callable[[object, object], None] = lambda s1, s2: None,
    ) -> tuple[npt.NDArray[np.int64], Meter]:
        """images (pictures, channels, height, width) -> class vectors or labels."""
        plan, pictures = self.model.plan, len(images)
        segment = blinding.picture_segment(
            plan, pictures, key_bits=self.params.key_bits, sigma=self.params.sigma
        )
        sent = blinding.blind_values(images.reshape(-1).astype(np.uint64), segment, self.public.n)
        mine, theirs = (blinding.decode(half, segment, self.public.n) for half in sent)
        head = QueryHead(
            secrets.token_bytes(16), "user", self.import_id, plan.hash, engine, label_only, pictures
        )
        claimed = Claimed(head, theirs)
        self.meter_s2 = Meter(tally=self.secret.tally)
        engines: list[object] = []

        def script(opening: pb.Round) -> Script:
            return query_s2(
                opening.open_query,
                self.s2,
                self.secret,
                self.workers_s2,
                self.params,
                lambda *_: claimed,
                False,
                self.meter_s2,
                engines.append,
                s2,
            )

        s1, s2 = self.observers("cloud_s1"), self.observers("cloud_s2")
        peer = ObservedPeer(MemoryPeer(ObservedConversation(Scripted(script), s2)), s1)
        query = query_s1(self.s1, self.import_id, engine, self.tools, peer, pictures, engines.append, s1)
        with closing(peer):
            query.prepare()
            half = finish(query.classify(head, mine))
        look(*engines[:2])
        combine = answers.labels if label_only else answers.class_vectors
        return combine(half, claimed.answer, plan, pictures), query.meter


def finish(work: Generator[object, None, Result]) -> Result:
    """A generator's result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return cast("Result", end.value)
