"""Both clouds in one process: the real protocol code of both sides, over MemoryPeer.

For experiments of a model's owner before anything is released, and for tests: user, S1 and S2 are played with
one key. No role imports this.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import BadInput
from twinveil.halves import answers
from twinveil.halves.model import blind_model, read_halves
from twinveil.halves.pictures import read_pictures, split_pictures
from twinveil.network.plan import QuantisedModel
from twinveil.parallel import INLINE, Workers
from twinveil.params import Params
from twinveil.protocol.binding import Claim, Claiming, QueryHead
from twinveil.protocol.meter import Meter
from twinveil.protocol.model import s1 as model_s1
from twinveil.protocol.model import s2 as model_s2
from twinveil.protocol.model.layout import Layouts
from twinveil.protocol.packed.item.conversation import items_s2
from twinveil.protocol.packed.item.s1 import ItemS1, MakerS1
from twinveil.protocol.packed.item.shelves import Shelves
from twinveil.protocol.packed.online import s1 as packed_s1
from twinveil.protocol.packed.online import s2 as packed_s2
from twinveil.protocol.packed.powers import Machine
from twinveil.protocol.packed.withheld import Withheld
from twinveil.protocol.textbook.query import s1 as textbook_s1
from twinveil.protocol.textbook.query import s2 as textbook_s2
from twinveil.protocol.textbook.s1 import TextbookS1
from twinveil.rounds.counted import CountedPeer
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.observed import ObservedConversation, ObservedPeer
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.peer import Peer
from twinveil.rounds.scripted import Script, Scripted
from twinveil.rpc import rounds_pb2 as pb

_MESSAGE_BYTES = 1 << 30
"""Nothing foreign arrives here; a model is as large as it is."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Answered:
    """One query. values: class vectors (pictures, classes) or labels (pictures,)."""

    values: npt.NDArray[np.int64]
    meter_s1: Meter
    meter_s2: Meter


@dataclass
class Clouds:
    """A model at both clouds. observer: each cloud's, by role, for every conversation that begins.

    label_only: the owner's policy.
    """

    model: QuantisedModel
    secret: SecretKey
    engines: tuple[str, ...] = ("packed",)
    workers_s1: Workers = INLINE
    workers_s2: Workers = INLINE
    observer: Callable[[str], Observer] = lambda role: NOBODY
    import_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    label_only: bool = False

    def __post_init__(self) -> None:
        self.public = self.secret.public_key
        self.params = Params(self.public.bits, insecure_small_key=self.public.bits < 2048)
        self.machine = Machine(self.public, self.workers_s1)
        self.layouts = Layouts(self.model.plan, self.params, self.engines)
        self.shelves = Shelves()
        self.s1, self.s2 = self._import()
        self._items: list[ItemS1] = []
        self._maker: MakerS1 | None = None
        self._making: Peer | None = None

    def blinded(self) -> tuple[bytes, bytes]:
        """The owner's halves of the model, for S1 and for S2."""
        return blind_model(self.model, self.engines, self.params, self.public.n)

    def peer(self, script: Callable[[pb.Round], Script], s1: Observer, s2: Observer) -> Peer:
        """S1's end of a new conversation."""
        return ObservedPeer(MemoryPeer(ObservedConversation(Scripted(script), s2), _MESSAGE_BYTES), s1)

    def make_items(self, count: int) -> None:
        """So many more, which queries to come will spend; all in one conversation."""
        if self.s1.packed is None or self.s2.packed is None:
            raise BadInput("this model is not here for the packed engine")
        if self._maker is None:
            of_s1, of_s2 = self.s1.packed, self.s2.packed
            s1, s2 = self.observer("cloud_s1"), self.observer("cloud_s2")

            def script(opening: pb.Round) -> Script:
                return items_s2(
                    opening.open_items,
                    of_s2,
                    self.secret,
                    self.shelves,
                    self.label_only,
                    workers=self.workers_s2,
                    observer=s2,
                )

            self._making = self.peer(script, s1, s2)
            self._maker = MakerS1(
                self._making,
                self.import_id,
                of_s1,
                of_s1.layout.items,
                self.machine,
                self.label_only,
                s1,
            )
        self._items += [self._maker.make() for _ in range(count)]

    def end_items(self) -> None:
        """Ends the conversation by which items live: all that are left are gone at S2."""
        if self._making:
            self._making.close()
        self._making, self._maker, self._items = None, None, []

    def classify(
        self,
        images: npt.NDArray[np.uint8],
        engine: str = "packed",
        label_only: bool = False,
        watch: Callable[[TextbookS1], None] = lambda engine: None,
    ) -> Answered:
        """Pictures (pictures, channels, height, width) through the protocol, as one query.

        watch sees S1's textbook engine.
        """
        plan, n, pictures = self.model.plan, self.public.n, len(images)
        sent = split_pictures(images, plan, engine, self.params, n)
        mine, theirs = (read_pictures(plan, engine, pictures, self.params, n, half) for half in sent)
        head = QueryHead(
            secrets.token_bytes(16), "user", self.import_id, plan.hash, engine, label_only, pictures
        )
        answer: list[bytes] = []
        meter_s2 = Meter(tally=self.secret.tally)

        def claim(query_id: bytes, check: Callable[[QueryHead], None]) -> Claim[Any]:
            check(head)  # it is there, and it is this query's: there is no other
            return Claim(head, theirs, answer.append)

        s1, s2 = self.observer("cloud_s1"), self.observer("cloud_s2")
        if engine == "packed":
            self.make_items(pictures - len(self._items))
            items, self._items = self._items[:pictures], self._items[pictures:]
            try:
                half, meter = self._packed(head, mine, items, claim, meter_s2, s1, s2)
            except Withheld as withheld:
                self._items = items + self._items
                raise withheld.error from None
        else:
            half, meter = self._textbook(head, mine, claim, meter_s2, s1, s2, watch)
        combine = answers.labels if label_only else answers.class_vectors
        return Answered(combine(half, answer[0], plan, pictures), meter, meter_s2)

    def _packed(
        self,
        head: QueryHead,
        half: Any,
        items: Sequence[ItemS1],
        claim: Claiming[Any],
        meter_s2: Meter,
        s1: Observer,
        s2: Observer,
    ) -> tuple[bytes, Meter]:
        of_s1, of_s2 = self.s1.packed, self.s2.packed
        if of_s1 is None or of_s2 is None:
            raise BadInput("this model is not here for the packed engine")

        def script(opening: pb.Round) -> Script:
            return packed_s2.query_s2(
                opening.spend,
                of_s2,
                self.public,
                self.shelves,
                claim,
                self.label_only,
                meter_s2,
                s2,
            )

        with closing(self.peer(script, s1, s2)) as peer:
            counted = CountedPeer(peer)
            meter = Meter(counted)
            return packed_s1.query_s1(counted.ask, of_s1, head, half, items, self.public.n, meter, s1), meter

    def _textbook(
        self,
        head: QueryHead,
        half: Any,
        claim: Claiming[Any],
        meter_s2: Meter,
        s1: Observer,
        s2: Observer,
        watch: Callable[[TextbookS1], None],
    ) -> tuple[bytes, Meter]:
        if self.s1.textbook is None:
            raise BadInput("this model is not here for the textbook engine")

        def script(opening: pb.Round) -> Script:
            return textbook_s2.query_s2(
                opening.open_query,
                self.layouts.textbook,
                self.secret,
                self.workers_s2,
                claim,
                self.label_only,
                meter_s2,
                observer=s2,
            )

        with closing(self.peer(script, s1, s2)) as peer:
            counted = CountedPeer(peer)
            meter = Meter(counted)
            work = textbook_s1.query_s1(
                counted.ask, self.s1.textbook, head, half, self.public, self.params, meter, watch, s1
            )
            return finish(work), meter

    def _import(self) -> tuple[model_s1.ModelS1, model_s2.ModelS2]:
        plan, n = self.model.plan, self.public.n
        mine, theirs = (read_halves(plan, self.engines, self.params, n, half) for half in self.blinded())
        kept: list[model_s2.ModelS2] = []
        s1, s2 = self.observer("cloud_s1"), self.observer("cloud_s2")

        def script(opening: pb.Round) -> Script:
            model = yield from model_s2.import_model(
                opening.open_import, self.layouts, theirs, self.secret, INLINE, s2
            )
            kept.append(model)
            yield pb.Round(done=pb.Done())

        with closing(self.peer(script, s1, s2)) as peer:
            made = finish(
                model_s1.import_model(
                    peer.ask, self.import_id, bytes(32), self.layouts, mine, self.machine, s1
                )
            )
            peer.ask(pb.Round(commit=pb.Commit()))
        return made, kept[0]


def finish(work: Generator[object, None, Result]) -> Result:
    """A generator's result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return cast("Result", end.value)
