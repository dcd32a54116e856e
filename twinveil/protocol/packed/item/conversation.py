"""S2's conversation in which items of one model are made, and by which they live."""

from __future__ import annotations

from collections.abc import Callable

from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import TooMuch
from twinveil.parallel import INLINE, Workers
from twinveil.protocol.packed.item.s2 import MakerS2
from twinveil.protocol.packed.item.shelves import Shelves
from twinveil.protocol.packed.model.s2 import ModelS2
from twinveil.protocol.packed.withheld import withheld
from twinveil.rounds.observer import NOBODY, Observer, Topic
from twinveil.rounds.scripted import Script, expect
from twinveil.rpc import rounds_pb2 as pb


def items_s2(
    opening: pb.OpenItems,
    model: ModelS2,
    key: SecretKey,
    shelves: Shelves,
    label_only: bool,
    room: Callable[[], Callable[[], None]] = lambda: lambda: None,
    workers: Workers = INLINE,
    observer: Observer = NOBODY,
) -> Script:
    """The conversation in which items of a model are made, one after the other, and which they live by.

    room: takes an item's part of the memory, and gives what frees it; TooMuch if there is none now.
    label_only: the owner's policy.
    """
    layout = model.layout
    maker = MakerS2(opening, opening.import_id, model, layout.items, key, workers, observer, label_only)
    observer.about(Topic("items", layout.plan, "packed", 1, key.public_key.n, layout.sigma))
    with shelves.open(opening.session_id, opening.import_id):
        request = yield pb.Round(items_opened=maker.opened)
        while True:
            make = expect(request, "make_item").make_item
            maker.accept(make)
            try:
                free = room()
            except TooMuch as error:
                request = yield withheld(error)
                continue
            try:
                item, words = yield from maker.make()
            except BaseException:
                free()
                raise
            shelves.put((opening.session_id, make.number), item, free)
            del item  # or it would outlive its query here
            request = yield pb.Round(item_words=words)
