"""Pictures meet their items, S2's side (drawn in s1.py).

S2 sees: its half of the picture, which is uniform; labels; x - r of every activation, which is uniform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from twinveil.crypto.public_key import PublicKey
from twinveil.errors import InvalidMessage, OutOfOrder, TwinveilError
from twinveil.halves.answers import answer_half
from twinveil.network.plan import IMAGE
from twinveil.protocol.binding import Claiming
from twinveil.protocol.meter import Meter
from twinveil.protocol.packed.item.s2 import ItemS2
from twinveil.protocol.packed.item.shelves import Shelves
from twinveil.protocol.packed.model.s2 import ModelS2
from twinveil.protocol.packed.plan import ItemPlan, joined, pack_turn
from twinveil.protocol.packed.stages import LABEL
from twinveil.protocol.packed.withheld import withheld
from twinveil.protocol.single_use import SingleUse
from twinveil.ring import Words, modulo
from twinveil.rounds.observer import NOBODY, Observer, Topic
from twinveil.rounds.scripted import Script, check_version, expect
from twinveil.rpc import rounds_pb2 as pb


class PicturesS2(SingleUse):
    """The pictures of one query. Takes their items when it is made: whatever happens then, they are spent.

    halves: d xor m of each picture (channels, height, width). Labels come in the stages' order, each once.
    """

    def __init__(
        self,
        model: ModelS2,
        plan: ItemPlan,
        items: Sequence[ItemS2],
        halves: Sequence[Words],
        label_only: bool = False,
        meter: Meter | None = None,
        observer: Observer = NOBODY,
    ) -> None:
        self._model, self._plan, self._label_only = model, plan, label_only
        self._meter, self._observer = meter or Meter(), observer
        self._items = [item.spend() for item in items]
        for item in items:
            self._meter.include(item.meter)
        if len(self._items) != len(halves) or not self._items:
            raise OutOfOrder("a picture takes one item")
        self._opened: list[dict[str, Words]] = [{} for _ in items]
        self._next: int | None = 0
        self._messages: list[list[tuple[int, int]]] = []
        self._found: list[list[Mapping[str, Words]]] = []
        self._labels: list[Words] = []
        turn = plan.turn(0, label_only)
        self.first = b"".join(
            pack_turn(turn, {IMAGE: half ^ plan.rho(0, circuits)[IMAGE]})
            for (circuits, _, _), half in zip(self._items, halves, strict=True)
        )
        """S2's first turn."""

    def answer(self, labels: bytes) -> bytes | None:
        """S1's labels of a stage -> the next turn; nothing after the label's. Any error ends the query.

        None while more labels of the stage are due.
        """
        self.refuse_copies()
        index, self._next = self._next, None
        plan, last = self._plan, len(self._plan.stages) - 1
        if index is None or index > (last if self._label_only else last - 1):
            raise OutOfOrder("all stages of these pictures are over")
        if not self._messages:
            self._messages = plan.labels(index, len(self._items))
            self._found = [[] for _ in self._items]
        self._open(index, self._messages.pop(0), labels)
        if self._messages:
            self._next = index
            return None
        found = [plan.outputs(index, each) for each in self._found]
        self._next = index + 1
        if index == last:
            self._labels = [each[LABEL] for each in found]
            return b""
        with self._meter.function(plan.linear_name(index + 1)):
            return b"".join(self._turn(index + 1, place, each) for place, each in enumerate(found))

    def _open(self, index: int, whose: Sequence[tuple[int, int]], labels: bytes) -> None:
        """Evaluates what these labels are for. whose: picture and part, in turn."""
        plan = self._plan
        ends = np.cumsum([plan.parts[place].circuit.answer_bytes for _, place in whose])
        if len(labels) != ends[-1]:
            raise InvalidMessage(f"labels of this stage have {ends[-1]} bytes, not {len(labels)}")
        with self._meter.function(plan.circuit_name(index)):
            start = 0
            for (picture, place), end in zip(whose, ends, strict=True):
                circuits, _, _ = self._items[picture]
                self._found[picture].append(circuits[place].open(labels[start:end]))
                start = end

    def _turn(self, index: int, place: int, found: Mapping[str, Words]) -> bytes:
        """e of what the last circuits gave a picture, and y2 - rho of the sums that follow."""
        plan, stage = self._plan, self._plan.stages[index]
        (circuits, u, own), opened = self._items[place], self._opened[place]
        pieces = plan.layout.schedule.pieces
        for name, values in found.items():
            self._observer.shared(f"{name} - r", values, pieces[name].share_bits)
        e = {
            name: modulo(found[name] - u[name], pieces[name].share_bits)
            for name in plan.stages[index - 1].outputs
        }
        opened |= e
        for step in stage.linear:
            name = step.node.name
            own[name] = self._model.own[name].sums(joined(step, opened)) + own[name]
        turn = plan.turn(index, self._label_only)
        sums = [each for each in turn if each.name not in e]
        rho = plan.rho(index, circuits) if sums else {}
        masked = {each.name: own[each.name].reshape(each.shape) - rho[each.name] for each in sums}
        return pack_turn(turn, e | masked)

    @property
    def result(self) -> Words:
        """S2's half of the answer once the last turn is made.

        Its shares of the class vectors, (classes, pictures); or the labels' flipped indices, (1, pictures).
        """
        if self._next != len(self._plan.stages) - (not self._label_only):
            raise OutOfOrder("these pictures are not at their end")
        if self._label_only:
            return np.array([self._labels], np.uint64)
        output = self._plan.layout.plan.output
        vectors = [own[output.name][:, 0] for _, _, own in self._items]
        return modulo(np.stack(vectors, axis=1), output.accumulator_bits)


def query_s2(
    spend: pb.Spend,
    model: ModelS2,
    key: PublicKey,
    shelves: Shelves,
    claim: Claiming[Sequence[Words]],
    policy: bool,
    meter: Meter,
    observer: Observer = NOBODY,
) -> Script:
    """The conversation of one query. policy: whether the owner gives out labels alone.

    Both halves are checked while the items are reserved: what is wrong then leaves them free. They are burnt
    before anything of a picture's half leaves, and by whatever else goes wrong.
    """
    check_version(spend.protocol_version)
    plan, bind = model.layout.items, spend.bind
    names = [(item.session_id, item.number) for item in spend.items]
    with shelves.reserve(spend.import_id, names) as reserved:
        try:
            claimed = claim(
                bind.query_id, lambda head: head.check(bind, spend.import_id, "packed", len(names), policy)
            )
        except TwinveilError as error:
            reserved.release()
            yield withheld(error)
            return
        label_only, halves = claimed.head.label_only, claimed.half
        observer.about(Topic("query", model.layout.plan, "packed", len(names), key.n, model.layout.sigma))
        for half in halves:
            observer.half_words(IMAGE, half, model.layout.plan.image_bits)
        pictures = PicturesS2(model, plan, reserved.burn(), halves, label_only, meter, observer)
        shares = pictures.first
        for _ in range(len(plan.stages) - (not label_only)):
            request = yield pb.Round(shared_turn=pb.SharedTurn(shares=shares))
            while (turn := pictures.answer(expect(request, "labels").labels.labels)) is None:
                request = yield pb.Round(labels_taken=pb.LabelsTaken())
            shares = turn
        observer.answered(pictures.result, plan.answer_bits(label_only))
        claimed.deliver(answer_half(pictures.result))
        yield (
            pb.Round(answered=pb.Answered())
            if label_only
            else pb.Round(shared_turn=pb.SharedTurn(shares=shares))
        )
