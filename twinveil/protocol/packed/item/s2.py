"""One item, made ahead of its picture, S2's side (drawn in s1.py).

S2 sees: sum + s, every plaintext under a mask of its own, and of the circuits what an evaluator sees before
any input comes: tables, one label of each of its own wires.
"""

from __future__ import annotations

import hmac
from collections.abc import Generator, Mapping, Sequence

import numpy as np

from twinveil.crypto.nonces import Encryptor
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.slots import pack
from twinveil.errors import InvalidMessage, OutOfOrder, PeerMismatch
from twinveil.garbling.ahead import EvaluatorHalf, Offer
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.garbling.products import PixelsHeld
from twinveil.parallel import INLINE, Workers
from twinveil.protocol.meter import Meter
from twinveil.protocol.packed.geometry import placed
from twinveil.protocol.packed.item.life import Item
from twinveil.protocol.packed.layout import MORE_TOWARDS_S1
from twinveil.protocol.packed.masking import accept, share
from twinveil.protocol.packed.model.s2 import ModelS2
from twinveil.protocol.packed.plan import ItemPlan, joined
from twinveil.protocol.packed.steps import Step
from twinveil.protocol.single_use import SingleUse
from twinveil.ring import Words, modulo, uniform
from twinveil.rounds.observer import NOBODY, Masking, Observer
from twinveil.rounds.scripted import check_opening, expect
from twinveil.rpc import rounds_pb2 as pb

Held = EvaluatorHalf | PixelsHeld


class ItemS2(Item[tuple[Sequence[Held], dict[str, Words], dict[str, Words]]]):
    """S2's half of one item.

    It holds the circuits of all parts, u by piece, and of each layer own sums (out, positions): conv(u, K2) +
    b2 and its shares of both sums made ahead. meter: what it cost S2.
    """

    def __init__(
        self, circuits: Sequence[Held], u: dict[str, Words], own: dict[str, Words], meter: Meter
    ) -> None:
        super().__init__((circuits, u, own))
        self.meter = meter


class MakerS2(SingleUse):
    """S2's end of one conversation in which items are made. opened: the reply to `opening`.

    import_id, label_only: of the model that `opening` names, as S2 has it. Raises PeerMismatch unless S1
    means the same model, key, policy and version.
    """

    def __init__(
        self,
        opening: pb.OpenItems,
        import_id: bytes,
        model: ModelS2,
        plan: ItemPlan,
        key: SecretKey,
        workers: Workers = INLINE,
        observer: Observer = NOBODY,
        label_only: bool = False,
    ) -> None:
        check_opening(opening)
        fingerprint = key.public_key.fingerprint
        bound = plan.binding(import_id, model.layout.digest, fingerprint, label_only)
        if not hmac.compare_digest(opening.binding, bound):
            raise PeerMismatch(
                "the clouds differ in this model, its policy, cloud_s2's key or their versions of Twinveil: "
                "install the same version on both and outsource the model again"
            )
        self._model, self._plan, self._key, self._workers = model, plan, key, workers
        self._observer = observer
        self._encryptor = Encryptor(key.public_key, key.tally, MORE_TOWARDS_S1)
        choices, session = random_choices(), opening.session_id
        answered = BaseReceiver(session + b"borrows", opening.base_ot, choices)
        self._choosing = ExtensionSender(answered.keys, choices, session + b"borrows")
        self._session = session + b"circuits"
        self._base = BaseSender(self._session)
        self._chosen: ExtensionReceiver | None = None
        self._asked = 0
        self.opened = pb.ItemsOpened(base_ot_reply=answered.reply, base_ot=self._base.first())

    def accept(self, request: pb.MakeItem) -> None:
        """Raises unless it is the next item that is asked for."""
        self.refuse_copies()
        if request.number != self._asked:
            raise OutOfOrder(f"item {request.number} is asked for where {self._asked} is due")
        self._asked += 1
        if self._chosen is None:
            self._chosen = ExtensionReceiver(self._base.keys(request.base_ot_reply), self._session)
        elif request.base_ot_reply:
            raise OutOfOrder("base transfers are done once, with the first item")

    def make(self) -> Generator[pb.Round, pb.Round, tuple[ItemS2, pb.ItemWords]]:
        """The item asked for: yields replies, returns it with the last one, which is still to be sent."""
        plan, model, chosen = self._plan, self._model, self._chosen
        if chosen is None:
            raise OutOfOrder("no item is asked for")
        meter, words = Meter(tally=self._key.tally), b""
        u = {
            name: uniform(piece.shape, piece.share_bits)
            for name, piece in plan.layout.schedule.pieces.items()
            if piece.share_bits
        }
        read = {step.node.name: joined(step, u) for step in plan.layout.steps}
        circuits: list[Held] = []
        ahead: dict[str, Words] = {}
        for index, step in enumerate(plan.steps):
            transfers = sum(part.circuit.transfers for part in plan.parts_of(step))
            with meter.function("garbling"):
                extension = chosen.prepare(transfers) if transfers else b""
            with meter.function("SMP"):
                ciphertexts = self._encrypted(step, read)
            reply = pb.ItemInputs(ciphertexts=ciphertexts, extension=extension, words=words)
            offer = expect((yield pb.Round(item_inputs=reply)), "item_offer").item_offer
            due = (self._asked - 1) * len(plan.steps) + index
            if offer.step != due:
                raise OutOfOrder(f"step {offer.step} of these items came where {due} is due")
            with meter.function("garbling"):
                circuits += self._hold(step, offer, chosen)
            with meter.function("SMP"):
                words, shares = self._shared(step, offer)
                plan.add_shares(ahead, step, shares)
            del offer  # its tables are kept, the message is not
        with meter.function("SMP"):
            own = {}
            for name, layer in plan.layout.layers.items():
                clear = model.own[name].sums(read[name]) + model.biases[name][:, np.newaxis]
                own[name] = modulo(clear + ahead[name].reshape(clear.shape), layer.ring)
        return ItemS2(circuits, u, own, meter), pb.ItemWords(words=words)

    def _encrypted(self, step: Step, read: Mapping[str, Words]) -> bytes:
        """E(u), as conv(u, K1) reads it. read: u as each layer reads it."""
        plaintexts = []
        for each in step.encryptions:
            layer = self._plan.layout.layers[each.layer]
            inputs = layer.inputs.inputs[each.rows.start : each.rows.stop]
            plaintexts += pack(placed(read[each.layer], inputs, layer.ring), layer.slots.bits)
        return self._encryptor.encrypt(plaintexts, workers=self._workers).to_bytes() if plaintexts else b""

    def _hold(self, step: Step, offer: pb.ItemOffer, chosen: ExtensionReceiver) -> list[Held]:
        parts = self._plan.parts_of(step)
        if len(offer.circuits) != len(parts):
            raise InvalidMessage(f"{len(parts)} circuits of an item are due, not {len(offer.circuits)}")
        return [
            part.circuit.hold(Offer(each.tables, each.labels, each.words), chosen)
            for part, each in zip(parts, offer.circuits, strict=True)
        ]

    def _shared(self, step: Step, offer: pb.ItemOffer) -> tuple[bytes, list[Words]]:
        """Words for S1's borrows, and S2's shares of what is on each sheet."""
        sheets, key = self._plan.sheets_of(step), self._key
        count = sum(len(sheet.outputs) for sheet in sheets)
        ciphertexts = key.public_key.parse(offer.ciphertexts, count, key.tally if count else None)
        corrections = accept(sheets, self._choosing, offer.extension, offer.corrections)
        decrypted = key.decrypt(ciphertexts, workers=self._workers)
        start = 0
        for sheet in sheets:
            part = decrypted[start : start + len(sheet.outputs)]
            start += len(part)
            self._observer.decrypted("ahead", part, Masking(sheet.mask_bits))
        return share(sheets, decrypted, self._choosing, corrections)
