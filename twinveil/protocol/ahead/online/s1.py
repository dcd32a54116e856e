"""Pictures meet their items, S1's side: integers modulo 2^L, labels, one round trip a stage.

user -> S1, S2   m, d xor m
S2 -> S1         (d xor m) xor rho
S1 -> S2         labels of m xor (d xor m) xor rho          S2 has x - r of the picture
for every stage:
S2 -> S1         e = x - r - u of what the last circuits gave; y2 - rho of this stage's sums
S1 -> S2         labels of y1 + y2 - rho                    S2 has x - r of the stage's outputs
at the end       both send the user their share of the class vector; or one more circuit gives the label

e is opened once a tensor, modulo the largest 2^L of its readers, and serves them all. Several pictures take
an item each and go side by side, in the same messages. S1 sees uniform integers: u, rho are S2's and fresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from twinveil.errors import OutOfOrder
from twinveil.network.plan import IMAGE
from twinveil.protocol.ahead.item.s1 import ItemS1
from twinveil.protocol.ahead.model.s1 import ModelS1
from twinveil.protocol.ahead.plan import ItemPlan, joined, unpack_turns
from twinveil.protocol.engine import Ask
from twinveil.protocol.single_use import SingleUse
from twinveil.protocol.stages import LABEL
from twinveil.ring import Words, modulo, negate
from twinveil.rounds.scripted import expect
from twinveil.rpc import rounds_pb2 as pb


class PicturesS1(SingleUse):
    """The pictures of one query. Takes their items when it is made: whatever happens then, they are spent.

    halves: m of each picture (channels, height, width). Turns come in the stages' order, each once.
    """

    def __init__(
        self,
        model: ModelS1,
        plan: ItemPlan,
        items: Sequence[ItemS1],
        halves: Sequence[Words],
        label_only: bool = False,
    ) -> None:
        self._model, self._plan, self._label_only = model, plan, label_only
        self._halves = list(halves)
        self._items = [item.spend() for item in items]
        if len(self._items) != len(self._halves) or not self._items:
            raise OutOfOrder("a picture takes one item")
        self._opened: list[dict[str, Words]] = [{} for _ in items]
        self._next: int | None = 0

    def answer(self, shares: bytes) -> bytes:
        """S2's turn -> S1's labels of the stage, all in one message, or nothing after the last sums.

        Any error ends the query: half a turn is not taken again.
        """
        index, self._next = self._next, None
        plan = self._plan
        if index is None or index >= len(plan.stages):
            raise OutOfOrder("all stages of these pictures are over")
        turns = unpack_turns(plan.turn(index, self._label_only), shares, len(self._items))
        labels = self._labels_of_pictures(turns) if not index else self._labels_of_stage(index, turns)
        self._next = index + 1
        return b"".join(labels)

    def _labels_of_pictures(self, turns: Sequence[Mapping[str, Words]]) -> list[bytes]:
        pairs = zip(self._items, self._halves, turns, strict=True)
        return [circuits[0].answer({IMAGE: half ^ turn[IMAGE]}) for (circuits, _), half, turn in pairs]

    def _labels_of_stage(self, index: int, turns: Sequence[Mapping[str, Words]]) -> list[bytes]:
        plan, stage, labels = self._plan, self._plan.stages[index], []
        for (circuits, own), opened, turn in zip(self._items, self._opened, turns, strict=True):
            opened |= {name: turn[name] for name in plan.stages[index - 1].outputs}
            for step in stage.linear:
                name = step.node.name
                own[name] = self._model.own[name].sums(joined(step, opened)) + own[name]
            if index + 1 < len(plan.stages) or self._label_only:
                masked = {
                    each.name: modulo(own[each.name].reshape(each.shape) + turn[each.name], each.bits)
                    for each in plan.sums(stage)
                }
                labels.append(circuits[index].answer(masked))
        return labels

    @property
    def result(self) -> Words:
        """S1's half of the answer once all turns are over, as `answers` puts it together with S2's.

        Its shares of the class vectors, negated, (classes, pictures); or the labels' flips, (1, pictures).
        """
        if self._next != len(self._plan.stages):
            raise OutOfOrder("these pictures are not at their end")
        output = self._plan.layout.plan.output
        if self._label_only:
            return np.array([[circuits[-1].masks[LABEL] for circuits, _ in self._items]], np.uint64)
        vectors = [own[output.name][:, 0] for _, own in self._items]
        return negate(np.stack(vectors, axis=1), output.accumulator_bits)


def spend(ask: Ask, first: pb.Round, pictures: PicturesS1, plan: ItemPlan, label_only: bool) -> Words:
    """Every turn of a query that `first` begins; S1's half of the answer."""
    reply = ask(first)
    for index in range(len(plan.stages)):
        labels = pictures.answer(expect(reply, "shared_turn").shared_turn.shares)
        if index + 1 < len(plan.stages) or label_only:
            reply = ask(pb.Round(labels=pb.Labels(labels=labels)))
    if label_only:
        expect(reply, "answered")
    return pictures.result
