"""The packed engine's views from leakage alone.

A circuit needs no output to be simulated: whatever labels, tables and words are, S2 gets something uniform
out of them, and that is all that it gets out of real ones.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from math import prod

from tests.views.simulator import Simulator, random_words, transfers
from twinveil.crypto.slots import draw
from twinveil.garbling.base_ot import BaseSender
from twinveil.garbling.ot_extension import prepare_bytes
from twinveil.garbling.products import Pixels
from twinveil.halves.model import Halves
from twinveil.halves.ring import ModelHalf
from twinveil.protocol.meter import Meter
from twinveil.protocol.packed.item.conversation import items_s2
from twinveil.protocol.packed.item.s1 import ItemS1, MakerS1
from twinveil.protocol.packed.item.shelves import Shelves
from twinveil.protocol.packed.masking import Sheet
from twinveil.protocol.packed.model.s1 import ModelS1
from twinveil.protocol.packed.model.s2 import ModelS2
from twinveil.protocol.packed.online.s1 import query_s1
from twinveil.protocol.packed.online.s2 import query_s2
from twinveil.protocol.packed.plan import ItemPlan
from twinveil.ring import Words, uniform
from twinveil.rounds.observer import Observer
from twinveil.rounds.peer import Peer
from twinveil.rounds.scripted import ROUNDS_VERSION, Script
from twinveil.rpc import rounds_pb2 as pb


class PackedSimulator(Simulator):
    """Each cloud's items are made in a conversation of their own, with nobody at its other end."""

    engine = "packed"

    def open_items(self, at_s1: Observer, at_s2: Observer) -> None:
        """What is made from now on is seen by these."""
        self._maker = MakerS1(
            self.at_s1(self._item_replies, at_s1),
            bytes(16),
            self._model_s1,
            self._items,
            self.machine,
            observer=at_s1,
        )
        self._made: list[ItemS1] = []
        self._shelves = Shelves()
        self._peer = self.at_s2(lambda opening: self._items_s2(opening, at_s2), at_s2)
        self._session = secrets.token_bytes(16)
        fingerprint, digest = self.public.fingerprint, self.layouts.packed.digest
        opening = pb.OpenItems(
            protocol_version=ROUNDS_VERSION,
            session_id=self._session,
            import_id=bytes(16),
            binding=self._items.binding(bytes(16), digest, fingerprint, False),
            base_ot=BaseSender(self._session + b"borrows").first(),
        )
        opened = self._peer.ask(pb.Round(open_items=opening)).items_opened
        self._base_ot_reply = transfers(self._session + b"circuits", opened.base_ot)[0]
        self._asked = 0

    def make_item(self) -> None:
        """One at each cloud."""
        self._made.append(self._maker.make())
        make = pb.MakeItem(number=self._asked, base_ot_reply=self._base_ot_reply)
        self._peer.ask(pb.Round(make_item=make))
        self._asked, self._base_ot_reply = self._asked + 1, b""
        self._peer.ask(pb.Round(item_offer=self._offer()))

    def query_at_s1(self, observer: Observer) -> None:
        """With the oldest item."""
        peer, head = self.at_s1(self._query_replies, observer), self.head()
        own = (self._model_s1, head, self._picture(), [self._made.pop(0)], self.public.n)
        query_s1(peer.ask, *own, Meter(), observer)
        peer.close()

    def query_at_s2(self, observer: Observer) -> None:
        """With the newest item."""
        head = self.head()
        claim = self.claiming(head, self._picture())

        def script(opening: pb.Round) -> Script:
            own = (self._model_s2, self.public, self._shelves, claim, False)
            return query_s2(opening.spend, *own, Meter(), observer)

        peer = self.at_s2(script, observer)
        item = pb.Spend.Item(session_id=self._session, number=self._asked - 1)
        opening = pb.Spend(
            protocol_version=ROUNDS_VERSION, import_id=bytes(16), bind=head.bind(), items=[item]
        )
        peer.ask(pb.Round(spend=opening))
        for part in self._items.parts[: None if self.label_only else -1]:
            circuit = part.circuit
            if isinstance(circuit, Pixels):
                runs = (circuit.shape, circuit.shape[1:])
                labels = b"".join(random_words(prod(run), circuit.width) for run in runs)
            else:
                labels = secrets.token_bytes(circuit.answer_bytes)
            peer.ask(pb.Round(labels=pb.Labels(labels=labels)))
        peer.close()

    def halves(self) -> Halves:
        layout = self.layouts.packed
        return Halves(
            packed=ModelHalf(
                {name: self.units(segment.plaintexts) for name, segment in layout.segments.items()},
                {
                    node.name: uniform((self.plan.shapes[node.name][0],), node.accumulator_bits)
                    for node in self.plan.linear_nodes
                },
            )
        )

    def import_replies(self, opening: pb.Round) -> Script:
        layout, first = self.layouts.packed, opening.open_import
        yield pb.Round(
            import_opened=pb.ImportOpened(
                factors=self.for_s1(sum(segment.plaintexts for segment in layout.segments.values())),
                base_ot=transfers(first.session_id, first.base_ot)[0],
            )
        )
        for node in self.plan.linear_nodes:
            kernel = layout.item.layers[node.name].kernel
            words, kernels = _borrows([layout.sheet(node)]), self.for_s1(kernel.chunks * kernel.bases)
            yield pb.Round(shared_kernel=pb.SharedKernel(words=words, kernels=kernels))
        yield pb.Round(done=pb.Done())

    def ask_import(self, peer: Peer, opening: pb.OpenImport) -> None:
        layout = self.layouts.packed
        opening.layout, opening.base_ot = layout.digest, BaseSender(opening.session_id).first()
        peer.ask(pb.Round(open_import=opening))
        for node in self.plan.linear_nodes:
            peer.ask(pb.Round(masked_kernel=pb.MaskedKernel(**self._masked([layout.sheet(node)]))))

    def _items_s2(self, opening: pb.Round, observer: Observer) -> Script:
        own = (self._model_s2, self.secret, self._shelves, False)
        return items_s2(opening.open_items, *own, observer=observer)

    def _item_replies(self, opening: pb.Round) -> Script:
        """S2's side of a conversation of items."""
        items, session = self._items, opening.open_items.session_id
        yield pb.Round(
            items_opened=pb.ItemsOpened(
                base_ot_reply=transfers(session + b"borrows", opening.open_items.base_ot)[0],
                base_ot=BaseSender(session + b"circuits").first(),
            )
        )
        while True:
            ciphertexts = self.for_s1(items.layout.encryptions)
            extension = secrets.token_bytes(
                prepare_bytes(sum(part.circuit.transfers for part in items.parts))
            )
            yield pb.Round(item_inputs=pb.ItemInputs(ciphertexts=ciphertexts, extension=extension))
            yield pb.Round(item_words=pb.ItemWords(words=_borrows(items.sheets)))

    def _query_replies(self, _: pb.Round) -> Script:
        """S2's side of a query."""
        for index in range(len(self._items.stages)):
            turn = self._items.turn(index, self.label_only)
            shares = b"".join(random_words(prod(each.shape), each.bits) for each in turn)
            yield pb.Round(shared_turn=pb.SharedTurn(shares=shares))
        yield pb.Round(answered=pb.Answered())

    def _offer(self) -> pb.ItemOffer:
        circuits = []
        for circuit in [part.circuit for part in self._items.parts]:
            tables, labels, _ = (secrets.token_bytes(size) for size in circuit.offer_bytes)
            shapes = {} if isinstance(circuit, Pixels) else dict(circuit.counts.outputs)
            widths = {} if isinstance(circuit, Pixels) else circuit.widths
            words = b"".join(random_words(prod(shapes[name]), widths[name]) for name in sorted(widths))
            circuits.append(pb.ItemOffer.Circuit(tables=tables, labels=labels, words=words))
        return pb.ItemOffer(step=self._asked - 1, circuits=circuits, **self._masked(self._items.sheets))

    def _masked(self, sheets: Sequence[Sheet]) -> dict[str, bytes]:
        """Encryptions of the masks of these sheets alone, and S1's choices for their borrows."""
        masks = [mask for sheet in sheets for mask in draw(len(sheet.outputs), sheet.mask_bits)]
        count = sum(sheet.transfers for sheet in sheets)
        return {
            "ciphertexts": self.for_s2(masks),
            "extension": secrets.token_bytes(prepare_bytes(count)) if count else b"",
            "corrections": b"".join(random_words(sheet.transfers, 1) for sheet in sheets),
        }

    def _picture(self) -> list[Words]:
        """A user's half."""
        return [uniform(self.plan.image_shape, self.plan.image_bits)]

    @property
    def _items(self) -> ItemPlan:
        return self.layouts.packed.items

    @property
    def _model_s1(self) -> ModelS1:
        assert self.s1.packed is not None
        return self.s1.packed

    @property
    def _model_s2(self) -> ModelS2:
        assert self.s2.packed is not None
        return self.s2.packed


def _borrows(sheets: Sequence[Sheet]) -> bytes:
    return b"".join(random_words(sheet.transfers, sheet.ring) for sheet in sheets)
