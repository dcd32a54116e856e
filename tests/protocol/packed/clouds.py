"""Both clouds of the packed engine in one process, over MemoryPeer: imports, items, pictures."""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tests.crypto.crypto_keys import secret_key
from twinveil.halves import answers
from twinveil.halves.ring import blind_model, read_model_half, read_picture_half, share_picture
from twinveil.network.plan import QuantisedModel
from twinveil.parallel import INLINE, Workers
from twinveil.protocol.packed.item.s1 import ItemS1, MakerS1
from twinveil.protocol.packed.item.s2 import ItemS2, MakerS2
from twinveil.protocol.packed.model import s1 as model_s1
from twinveil.protocol.packed.model import s2 as model_s2
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.protocol.packed.online import s1 as online_s1
from twinveil.protocol.packed.online import s2 as online_s2
from twinveil.protocol.packed.plan import ItemPlan
from twinveil.protocol.packed.powers import Machine
from twinveil.rehearsal.clouds import finish
from twinveil.rounds.counted import CountedPeer
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.scripted import Script, Scripted, expect
from twinveil.rpc import rounds_pb2 as pb


class Imported:
    """A model at both clouds.

    halves: what the owner sent, instead of what an honest one sends. meddle: what becomes of each message.
    """

    def __init__(
        self,
        model: QuantisedModel,
        key_bits: int = 512,
        halves: tuple[bytes, bytes] | None = None,
        workers: Workers = INLINE,
        observer: Observer = NOBODY,
        meddle: Callable[[pb.Round], pb.Round] = lambda message: message,
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
        self.s1 = finish(
            model_s1.import_model(lambda message: meddle(self.peer.ask(meddle(message))), *arguments)
        )
        self.peer.ask(pb.Round(commit=pb.Commit()))
        self.peer.close()
        self.s2 = kept[0]


class Engine:
    """Items of an imported model in one conversation, and pictures that spend them."""

    def __init__(self, clouds: Imported) -> None:
        self.clouds = clouds
        self.plan = ItemPlan(clouds.layout.item)
        self.items_s1: list[ItemS1] = []
        self.alive_s2: list[weakref.ref[ItemS2]] = []
        """S2's items, which nothing but its conversation holds."""
        self.halves_s2: list[npt.NDArray[np.uint64]] = []
        self.answers_s2: list[npt.NDArray[np.uint64]] = []
        self.pictures: tuple[online_s1.PicturesS1, online_s2.PicturesS2] | None = None
        self._mine: online_s1.PicturesS1 | None = None
        self.peer = self.conversation()
        self.maker = MakerS1(self.peer, clouds.import_id, clouds.s1, self.plan, clouds.machine)

    def conversation(self) -> CountedPeer:
        """One in which S2 makes and spends items, not yet opened."""
        return CountedPeer(MemoryPeer(Scripted(self._script)))

    def _script(self, opening: pb.Round) -> Script:
        clouds = self.clouds
        maker = MakerS2(
            opening.open_items,
            clouds.import_id,
            clouds.s2,
            self.plan,
            clouds.secret,
            observer=clouds.observer,
        )
        items: list[ItemS2] = []
        request = yield pb.Round(items_opened=maker.opened)
        while True:
            if request.WhichOneof("body") == "make_item":
                item, words = yield from maker.make(request.make_item)
                items.append(item)
                self.alive_s2.append(weakref.ref(item))
                del item
                request = yield pb.Round(item_words=words)
                continue
            label_only = expect(request, "bind").bind.label_only
            taken = [items.pop(0) for _ in self.halves_s2]
            theirs = online_s2.PicturesS2(clouds.s2, self.plan, taken, self.halves_s2, label_only)
            if self._mine:
                self.pictures = self._mine, theirs
            request = yield from online_s2.spend(theirs, self.plan, label_only, self.answers_s2.append)

    def make(self, count: int = 1) -> None:
        for _ in range(count):
            with self.peer.step("ahead"):
                self.items_s1.append(self.maker.make())

    def classify(self, images: npt.NDArray[np.uint8], label_only: bool = False) -> npt.NDArray[np.int64]:
        """images (pictures, channels, height, width) -> class vectors or labels, by items made before."""
        clouds, plan = self.clouds, self.clouds.model.plan
        sent = [share_picture(image, plan) for image in images]
        mine, self.halves_s2 = ([read_picture_half(plan, half[side]) for half in sent] for side in (0, 1))
        items = [self.items_s1.pop(0) for _ in images]
        self._mine = online_s1.PicturesS1(clouds.s1, self.plan, items, mine, label_only)
        bind = pb.Bind(query_id=secrets.token_bytes(16), label_only=label_only)
        first = pb.Round(bind=bind)
        with self.peer.step("online"):
            half = online_s1.spend(self.peer.ask, first, self._mine, self.plan, label_only)
        combine = answers.labels if label_only else answers.class_vectors
        return combine(
            answers.answer_half(half), answers.answer_half(self.answers_s2.pop()), plan, len(images)
        )
