"""Pictures meet their items, S2's side (drawn in s1.py).

S2 sees: its half of the picture, which is uniform; labels; x - r of every activation, which is uniform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from twinveil.errors import InvalidMessage, OutOfOrder
from twinveil.network.plan import IMAGE
from twinveil.protocol.ahead.item.s2 import ItemS2
from twinveil.protocol.ahead.model.s2 import ModelS2
from twinveil.protocol.ahead.plan import ItemPlan, joined, pack_turn
from twinveil.protocol.engine import Dialogue
from twinveil.protocol.single_use import SingleUse
from twinveil.protocol.stages import LABEL
from twinveil.ring import Words, modulo
from twinveil.rounds.scripted import expect
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
    ) -> None:
        self._model, self._plan, self._label_only = model, plan, label_only
        self._items = [item.spend() for item in items]
        if len(self._items) != len(halves) or not self._items:
            raise OutOfOrder("a picture takes one item")
        self._opened: list[dict[str, Words]] = [{} for _ in items]
        self._next: int | None = 0
        self._labels: list[Words] = []
        turn = plan.turn(0, label_only)
        self.first = b"".join(
            pack_turn(turn, {IMAGE: half ^ circuits[0].drawn[IMAGE]})
            for (circuits, _, _), half in zip(self._items, halves, strict=True)
        )
        """S2's first turn."""

    def answer(self, labels: bytes) -> bytes:
        """S1's labels of a stage -> the next turn; nothing after the label's. Any error ends the query."""
        index, self._next = self._next, None
        plan, last = self._plan, len(self._plan.stages) - 1
        if index is None or index > (last if self._label_only else last - 1):
            raise OutOfOrder("all stages of these pictures are over")
        size = plan.circuits[index].answer_bytes
        if len(labels) != size * len(self._items):
            raise InvalidMessage(
                f"labels of this stage have {size * len(self._items)} bytes, not {len(labels)}"
            )
        turns = []
        for place, ((circuits, u, own), opened) in enumerate(zip(self._items, self._opened, strict=True)):
            found = circuits[index].open(labels[place * size : (place + 1) * size])
            if index == last:
                self._labels.append(found[LABEL])
                continue
            e = {
                name: modulo(found[name] - u[name], plan.layout.schedule.pieces[name].share_bits)
                for name in plan.stages[index].outputs
            }
            opened |= e
            following = plan.stages[index + 1]
            for step in following.linear:
                name = step.node.name
                own[name] = self._model.own[name].sums(joined(step, opened)) + own[name]
            masked = {
                each.name: own[each.name].reshape(each.shape) - circuits[index + 1].drawn[each.name]
                for each in plan.sums(following)
            }
            turns.append(pack_turn(plan.turn(index + 1, self._label_only), e | masked))
        self._next = index + 1
        return b"".join(turns)

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


def spend(
    pictures: PicturesS2, plan: ItemPlan, label_only: bool, deliver: Callable[[Words], None]
) -> Dialogue:
    """Every turn of a query, from the first; `deliver` gets S2's half of the answer before the last reply."""
    shares = pictures.first
    for _ in range(len(plan.stages) - (not label_only)):
        request = yield pb.Round(shared_turn=pb.SharedTurn(shares=shares))
        shares = pictures.answer(expect(request, "labels").labels.labels)
    deliver(pictures.result)
    if label_only:
        return (yield pb.Round(answered=pb.Answered()))
    return (yield pb.Round(shared_turn=pb.SharedTurn(shares=shares)))
