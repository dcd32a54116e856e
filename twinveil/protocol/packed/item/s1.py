"""One item, made ahead of its picture, S1's side. With r and u uniform, for every activation x:

    conv(x, K) + b =  conv(e, K1) + conv(r, K1) + b1     S1        e = x - r - u, opened online
                   +  conv(e, K2) + conv(u, K2) + b2     S2
                   +  conv(r, K2)                        E(K2) raised to r     both here,
                   +  conv(u, K1)                        E(u) raised to K1     under masks

S1 -> S2   make an item
S2         u, rho drawn
S2 -> S1   E(u); extension, of which S2's choices are rho
S1         garbles every circuit, and r falls out of it; both sums of every layer
S1 -> S2   tables, labels of rho, words of the outputs;  E(sum + s), one mask a plaintext, choices for borrows
S2 -> S1   words of the borrows

What is more than a message goes in several such steps (`steps.py`): all circuits, then all sums. Tables,
transfers and ciphertexts are dropped as they leave.

S1 sees ciphertexts and uniform bits. Every ciphertext that it sends has a fresh full nonce, every layer's two
sums masks of their own: S2 and an owner together know K1, hence the masks of conv(u, K1), and then r rests on
those of conv(r, K2) alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

import numpy as np
from gmpy2 import mpz

from twinveil.crypto.native.residues import Residues
from twinveil.crypto.nonces import Rerandomiser
from twinveil.errors import InvalidMessage
from twinveil.garbling.ahead import GarblerHalf
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.garbling.products import PixelsGiven
from twinveil.protocol.meter import Meter
from twinveil.protocol.packed.item.life import Item
from twinveil.protocol.packed.layout import LayerLayout
from twinveil.protocol.packed.masking import Masks
from twinveil.protocol.packed.model.s1 import ModelS1
from twinveil.protocol.packed.plan import ItemPlan, joined
from twinveil.protocol.packed.powers import Machine, input_sums
from twinveil.protocol.packed.steps import NO_STEP, Step
from twinveil.protocol.packed.withheld import unless_withheld
from twinveil.protocol.single_use import SingleUse
from twinveil.ring import Words, modulo
from twinveil.rounds.counted import CountedPeer
from twinveil.rounds.observer import NOBODY, Observer, Topic
from twinveil.rounds.peer import Peer
from twinveil.rounds.scripted import ROUNDS_VERSION, SESSION_BYTES, expect
from twinveil.rpc import rounds_pb2 as pb

Given = GarblerHalf | PixelsGiven


class ItemS1(Item[tuple[Sequence[Given], dict[str, Words]]]):
    """S1's half of one item.

    It holds the circuits of all parts, and of each layer own sums (out, positions): conv(r, K1) + b1 and its
    shares of both sums made ahead. name: for S2, which holds the other half under it. meter: what it cost S1.
    """

    def __init__(
        self, name: pb.Spend.Item, circuits: Sequence[Given], own: dict[str, Words], meter: Meter
    ) -> None:
        super().__init__((circuits, own))
        self.name = name
        self.meter = meter


class MakerS1(SingleUse):
    """S1's end of one conversation in which items are made, one after the other.

    label_only: the owner's policy.
    """

    def __init__(
        self,
        peer: Peer,
        import_id: bytes,
        model: ModelS1,
        plan: ItemPlan,
        machine: Machine,
        label_only: bool = False,
        observer: Observer = NOBODY,
    ) -> None:
        observer.about(Topic("items", model.layout.plan, "packed", 1, machine.key.n, model.layout.sigma))
        self._peer, self._model, self._plan, self._machine = peer, model, plan, machine
        self._session = session = secrets.token_bytes(SESSION_BYTES)
        base = BaseSender(session + b"borrows")
        opening = pb.OpenItems(
            protocol_version=ROUNDS_VERSION,
            session_id=session,
            import_id=import_id,
            binding=plan.binding(import_id, model.layout.digest, machine.key.fingerprint, label_only),
            base_ot=base.first(),
        )
        opened = expect(peer.ask(pb.Round(open_items=opening)), "items_opened").items_opened
        self._choosing = ExtensionReceiver(base.keys(opened.base_ot_reply), session + b"borrows")
        choices = random_choices()
        answered = BaseReceiver(session + b"circuits", opened.base_ot, choices)
        self._chosen = ExtensionSender(answered.keys, choices, session + b"circuits")
        self._base_ot_reply, self._asked = answered.reply, 0
        self._rerandomiser = Rerandomiser(machine.key, machine.tally, plan.layout.more_towards_s2)

    def make(self) -> ItemS1:
        """One item. A failure ends the conversation, at S2 too, and all items that were made in it.

        But for Withheld: S2 has no memory for another one now, and all that there are stay.
        """
        self.refuse_copies()
        plan, model, machine = self._plan, self._model, self._machine
        peer = CountedPeer(self._peer)
        meter = Meter(peer, machine.tally)
        name = pb.Spend.Item(session_id=self._session, number=self._asked)
        request = pb.MakeItem(number=self._asked, base_ot_reply=self._base_ot_reply)
        message = pb.Round(make_item=request)
        self._asked, self._base_ot_reply = self._asked + 1, b""
        circuits: list[Given] = []
        read: dict[str, Words] = {}
        ahead: dict[str, Words] = {}
        sums, done, masks = _Sums(model, plan, machine), NO_STEP, Masks((), self._choosing)
        for index, step in enumerate(plan.steps):
            with meter.function("ahead"):
                reply = peer.ask(message)
                inputs = (expect if index else unless_withheld)(reply, "item_inputs").item_inputs
            with meter.function("SMP"):
                plan.add_shares(ahead, done, masks.open(inputs.words))
            with meter.function("garbling"):
                halves = self._garbled(step, inputs.extension)
            circuits += halves
            with meter.function("SMP"):
                sums.accept(inputs.ciphertexts, step.ciphertexts)
                if step.sheets and not read:  # all circuits are there
                    read = self._read(circuits)
                done, masks = step, Masks(plan.sheets_of(step), self._choosing)
                offer = pb.ItemOffer(
                    step=name.number * len(plan.steps) + index,
                    ciphertexts=self._masked(sums.take(len(masks.s), read), masks.s) if masks.s else b"",
                    extension=masks.extension,
                    corrections=masks.corrections,
                )
            message = pb.Round(item_offer=offer)
            for half in halves:  # in their place: a message that is put into another is copied
                message.item_offer.circuits.add(**half.offer()._asdict())
        with meter.function("ahead"):
            words = expect(peer.ask(message), "item_words").item_words.words
        with meter.function("SMP"):
            plan.add_shares(ahead, done, masks.open(words))
            own = {}
            for layer_name, layer in plan.layout.layers.items():
                clear = model.own[layer_name].sums(read[layer_name]) + model.biases[layer_name][:, np.newaxis]
                own[layer_name] = modulo(clear + ahead[layer_name].reshape(clear.shape), layer.ring)
        return ItemS1(name, circuits, own, meter)

    def _garbled(self, step: Step, extension: bytes) -> list[Given]:
        parts = self._plan.parts_of(step)
        if transfers := sum(part.circuit.transfers for part in parts):
            self._chosen.accept(extension, transfers)
        elif extension:
            raise InvalidMessage(f"no circuit is due, and {len(extension)} bytes of an extension came")
        return [part.circuit.garble(self._chosen) for part in parts]

    def _read(self, circuits: Sequence[Given]) -> dict[str, Words]:
        """r as each layer reads it."""
        plan, r = self._plan, dict[str, Words]()
        for index in range(len(plan.stages) - 1):
            r |= plan.outputs(index, [circuits[place].masks for place in plan.places(index)])
        return {step.node.name: joined(step, r) for step in plan.layout.steps}

    def _masked(self, sums: Residues, masks: Sequence[mpz]) -> bytes:
        """E(sum + s), fresh."""
        key, machine = self._machine.key, self._machine
        masked = sums.add_plain(masks)
        tally = machine.tally
        tally += key.add_plain_counts(len(masked))
        return self._rerandomiser.freshen(masked, workers=machine.workers).to_bytes()


class _Sums:
    """E(conv(r, K2)) and E(conv(u, K1)) of every layer, one after the other, as E(u) comes in."""

    def __init__(self, model: ModelS1, plan: ItemPlan, machine: Machine) -> None:
        self._model, self._machine = model, machine
        self._todo = list(plan.layout.layers.items())
        self._encrypted: list[Residues] = []
        self._made: list[Residues] = []

    def accept(self, ciphertexts: bytes, count: int) -> None:
        """The next encryptions of u."""
        machine = self._machine
        if count or ciphertexts:
            self._encrypted.append(
                machine.key.parse_array(ciphertexts, count, machine.tally, machine.workers.here)
            )

    def take(self, count: int, read: Mapping[str, Words]) -> Residues:
        """The next sums, of all layers that they need at once. read: r as each layer reads it."""
        ready, todo = sum(map(len, self._made)), self._todo
        first = next(
            at for at in range(len(todo) + 1) if ready + sum(each.sums for _, each in todo[:at]) >= count
        )
        now, self._todo = todo[:first], todo[first:]
        if now:
            self._made += self._computed(dict(now), read)
        made = Residues.joined(self._made)
        self._made = [made[count:]]
        return made[:count]

    def _computed(self, layers: Mapping[str, LayerLayout], read: Mapping[str, Words]) -> list[Residues]:
        model, encrypted = self._model, Residues.joined(self._encrypted)
        taken = sum(layer.inputs.plaintexts for layer in layers.values())
        kernels = [model.kernels[name] for name in layers]
        of_inputs = input_sums(list(layers.values()), kernels, encrypted[:taken], self._machine)
        self._encrypted = [encrypted[taken:]]
        sums = []
        for (name, layer), of_input in zip(layers.items(), of_inputs, strict=True):
            sums += [model.tables.sums(layer, read[name], self._machine), of_input]
        return sums
