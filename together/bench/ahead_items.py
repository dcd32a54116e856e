"""What the engine `ahead` costs on this machine: `python -m together.bench.ahead_items [key bits] [items]`.

The default ICNN, both clouds in one thread over memory, without transport. Processor seconds of each cloud,
of S1 with serialising and parsing for both; bytes and messages as they are counted on the way.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable

import numpy as np

from owner.training.compile import default_plan
from together.bench.dialogue import Timed
from together.bench.networks import any_model, some_pictures
from twinveil.crypto.keygen import generate
from twinveil.halves import answers
from twinveil.halves.ring import blind_model, read_model_half, read_picture_half, share_picture
from twinveil.network import oracle
from twinveil.parallel import INLINE
from twinveil.params import Params
from twinveil.protocol.ahead.item.s1 import MakerS1
from twinveil.protocol.ahead.item.s2 import ItemS2, MakerS2
from twinveil.protocol.ahead.model import s1 as model_s1
from twinveil.protocol.ahead.model import s2 as model_s2
from twinveil.protocol.ahead.model.layout import ModelLayout
from twinveil.protocol.ahead.online import s1 as online_s1
from twinveil.protocol.ahead.online import s2 as online_s2
from twinveil.protocol.ahead.plan import ItemPlan
from twinveil.protocol.ahead.powers import Machine
from twinveil.ring import Words
from twinveil.rounds.counted import CountedPeer
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.scripted import Script, Scripted, expect
from twinveil.rpc import rounds_pb2 as pb
from twinveil.start.freed_memory import keep_freed_memory

IMPORT = secrets.token_bytes(16)


class Conversation:
    """A peer whose S2 runs `script`; `step` measures both clouds."""

    def __init__(self, script: Callable[[pb.Round], Script]) -> None:
        self._s2 = Timed(Scripted(script))
        self.peer = CountedPeer(MemoryPeer(self._s2))

    def step(self, what: str, work: Callable[[], None], times: int = 1) -> None:
        """Does `work` and prints the means of one time."""
        self._s2.seconds, start, clock = 0.0, time.thread_time(), time.perf_counter()
        with self.peer.step(what) as traffic:
            for _ in range(times):
                work()
        both, took = time.thread_time() - start, time.perf_counter() - clock
        s1, s2 = (both - self._s2.seconds) / times, self._s2.seconds / times
        size = (traffic.sent + traffic.received) / times / 1e6
        print(
            f"{what:16}S1 {s1:7.3f} s   S2 {s2:7.3f} s   clock {took / times:7.3f} s"
            f"{size:8.2f} MB{traffic.messages // times:5} messages",
            flush=True,
        )


def measure(key_bits: int, items: int) -> None:
    keep_freed_memory()  # as the clouds do
    key, model = generate(Params(key_bits)), any_model(default_plan())
    plan, n, machine = model.plan, key.public_key.n, Machine(key.public_key, INLINE)
    layout = ModelLayout(plan, key_bits)
    halves = [read_model_half(plan, key_bits, n, each) for each in blind_model(model, key_bits, n)]
    imported: list[model_s2.ModelS2] = []
    kept: list[model_s1.ModelS1] = []

    def importing(opening: pb.Round) -> Script:
        imported.append((yield from model_s2.import_model(opening.open_import, layout, halves[1], key)))
        yield pb.Round(done=pb.Done())

    def bring() -> None:
        work = model_s1.import_model(conversation.peer.ask, IMPORT, bytes(32), layout, halves[0], machine)
        while True:
            try:
                next(work)
            except StopIteration as end:
                kept.append(end.value)
                break
        conversation.peer.ask(pb.Round(commit=pb.Commit()))

    print(f"{key_bits} bits, {items} items")
    conversation = Conversation(importing)
    conversation.step("import", bring)

    item_plan, theirs, received = ItemPlan(layout.item), list[Words](), list[Words]()

    def serving(opening: pb.Round) -> Script:
        maker = MakerS2(opening.open_items, IMPORT, imported[0], item_plan, key)
        request, stock = (yield pb.Round(items_opened=maker.opened)), list[ItemS2]()
        while True:
            if request.WhichOneof("body") == "make_item":
                item, words = yield from maker.make(request.make_item)
                stock.append(item)
                request = yield pb.Round(item_words=words)
                continue
            expect(request, "bind")
            pictures = online_s2.PicturesS2(imported[0], item_plan, [stock.pop(0)], [theirs.pop()])
            request = yield from online_s2.spend(pictures, item_plan, False, received.append)

    conversation = Conversation(serving)
    maker = MakerS1(conversation.peer.ask, IMPORT, kept[0], item_plan, machine)
    mine = []
    conversation.step("first item", lambda: mine.append(maker.make()))
    conversation.step("item", lambda: mine.append(maker.make()), items)

    def classify() -> None:
        image = some_pictures(plan, items + 1)[len(mine) - 1]
        first, second = (read_picture_half(plan, half) for half in share_picture(image, plan))
        theirs.append(second)
        pictures = online_s1.PicturesS1(kept[0], item_plan, [mine.pop(0)], [first])
        bind = pb.Round(bind=pb.Bind(query_id=secrets.token_bytes(16)))
        share = online_s1.spend(conversation.peer.ask, bind, pictures, item_plan, False)
        s1_half, s2_half = (answers.answer_half(each) for each in (share, received.pop()))
        if not np.array_equal(answers.class_vectors(s1_half, s2_half, plan, 1)[0], oracle.run(model, image)):
            raise RuntimeError("a picture's class vector is not the oracle's")

    conversation.step("first picture", classify)
    conversation.step("picture", classify, items)


if __name__ == "__main__":
    measure(*(int(each) for each in [*sys.argv[1:], *("2048", "3")[len(sys.argv) - 1 :]]))
