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

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from gmpy2 import mpz

from twinveil.errors import OutOfOrder
from twinveil.halves.answers import answer_half
from twinveil.network.plan import IMAGE
from twinveil.protocol.binding import QueryHead
from twinveil.protocol.meter import Meter
from twinveil.protocol.packed.item.s1 import ItemS1
from twinveil.protocol.packed.model.s1 import ModelS1
from twinveil.protocol.packed.plan import ItemPlan, joined, unpack_turns
from twinveil.protocol.packed.stages import LABEL
from twinveil.protocol.packed.withheld import Withheld, unless_withheld
from twinveil.protocol.single_use import SingleUse
from twinveil.ring import Words, modulo, negate
from twinveil.rounds.observer import NOBODY, Observer, Topic
from twinveil.rounds.peer import Ask
from twinveil.rounds.scripted import ROUNDS_VERSION, expect
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
        meter: Meter | None = None,
        observer: Observer = NOBODY,
    ) -> None:
        self._model, self._plan, self._label_only = model, plan, label_only
        self._meter, self._observer = meter or Meter(), observer
        self._halves = list(halves)
        self._items = [item.spend() for item in items]
        for item in items:
            self._meter.include(item.meter)
        if len(self._items) != len(self._halves) or not self._items:
            raise OutOfOrder("a picture takes one item")
        self._opened: list[dict[str, Words]] = [{} for _ in items]
        self._next: int | None = 0

    def answer(self, shares: bytes) -> Iterator[bytes]:
        """S2's turn -> S1's labels of the stage, a message at a time; none after the last sums.

        Any error ends the query: half a turn is not taken again.
        """
        self.refuse_copies()
        index, self._next = self._next, None
        plan = self._plan
        if index is None or index >= len(plan.stages):
            raise OutOfOrder("all stages of these pictures are over")
        turns = unpack_turns(plan.turn(index, self._label_only), shares, len(self._items))
        if index:
            self._add_sums(index, turns)
        return self._labels(index, turns)

    def _add_sums(self, index: int, turns: Sequence[Mapping[str, Words]]) -> None:
        """y1 of a stage: conv(e, K1) and what was made ahead."""
        plan, pieces = self._plan, self._plan.layout.schedule.pieces
        with self._meter.function(plan.linear_name(index)):
            for (circuits, own), opened, turn in zip(self._items, self._opened, turns, strict=True):
                r = plan.outputs(index - 1, [circuits[at].masks for at in plan.places(index - 1)])
                for name in plan.stages[index - 1].outputs:
                    opened[name], bits = turn[name], pieces[name].share_bits
                    share = modulo(turn[name] + r[name], bits)
                    self._observer.shared(f"{name} - u", share, bits)
                for step in plan.stages[index].linear:
                    name = step.node.name
                    own[name] = self._model.own[name].sums(joined(step, opened)) + own[name]

    def _labels(self, index: int, turns: Sequence[Mapping[str, Words]]) -> Iterator[bytes]:
        """Of m xor (d xor m) xor rho of the pictures, or of y1 + y2 - rho of a stage."""
        plan = self._plan
        if index < len(plan.stages) - 1 or self._label_only:
            with self._meter.function(plan.circuit_name(index)):
                masked = [
                    self._masked_sums(index, own, turn) if index else self._masked_picture(half, turn)
                    for (_, own), half, turn in zip(self._items, self._halves, turns, strict=True)
                ]
            for message in plan.labels(index, len(self._items)):
                with self._meter.function(plan.circuit_name(index)):
                    labels = b"".join(
                        self._items[picture][0][place].answer(plan.parts[place].read(masked[picture]))
                        for picture, place in message
                    )
                yield labels
        self._next = index + 1

    def _masked_picture(self, half: Words, turn: Mapping[str, Words]) -> dict[str, Words]:
        masked = half ^ turn[IMAGE]
        self._observer.shared(f"{IMAGE} xor rho", masked, self._plan.layout.plan.image_bits)
        return {IMAGE: masked}

    def _masked_sums(
        self, index: int, own: Mapping[str, Words], turn: Mapping[str, Words]
    ) -> dict[str, Words]:
        masked = {}
        for each in self._plan.sums(self._plan.stages[index]):
            masked[each.name] = modulo(own[each.name].reshape(each.shape) + turn[each.name], each.bits)
            self._observer.shared(f"{each.name} - rho", masked[each.name], each.bits)
        return masked

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


def query_s1(
    ask: Ask,
    model: ModelS1,
    head: QueryHead,
    halves: Sequence[Words],
    items: Sequence[ItemS1],
    n: mpz,
    meter: Meter,
    observer: Observer = NOBODY,
) -> bytes:
    """Every turn of a query, in a conversation of its own, an item a picture; S1's half of the answer.

    halves: m of each picture, checked. n: of S2's key. Raises Withheld where nothing of the items was opened:
    they are free again. After any other error they are burnt, whatever it was.
    """
    plan, label_only = model.layout.items, head.label_only
    observer.about(Topic("query", model.layout.plan, "packed", len(halves), n, model.layout.sigma))
    for half in halves:
        observer.half_words(IMAGE, half, model.layout.plan.image_bits)
    opening = pb.Spend(
        protocol_version=ROUNDS_VERSION,
        import_id=head.import_id,
        bind=head.bind(),
        items=[item.name for item in items],
    )
    with meter.function("picture"):
        try:
            reply = unless_withheld(ask(pb.Round(spend=opening)), "shared_turn")
        except Withheld:
            raise
        except BaseException:
            for item in items:
                item.burn()
            raise
    pictures = PicturesS1(model, plan, items, halves, label_only, meter, observer)
    for index in range(len(plan.stages)):
        due = "shared_turn"
        for labels in pictures.answer(expect(reply, "shared_turn").shared_turn.shares):
            reply = expect(reply, due)
            with meter.function(plan.circuit_name(index)):
                reply = ask(pb.Round(labels=pb.Labels(labels=labels)))
            due = "labels_taken"
    if label_only:
        expect(reply, "answered")
    return answer_half(pictures.result)
