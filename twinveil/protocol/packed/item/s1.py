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

S1 sees ciphertexts and uniform bits. Every ciphertext that it sends has a fresh full nonce, every layer's two
sums masks of their own: S2 and an owner together know K1, hence the masks of conv(u, K1), and then r rests on
those of conv(r, K2) alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

import numpy as np

from twinveil.crypto.native.residues import Residues
from twinveil.crypto.nonces import Rerandomiser
from twinveil.garbling.ahead import GarblerHalf
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.garbling.products import PixelsGiven
from twinveil.protocol.meter import Meter
from twinveil.protocol.packed.item.life import Item
from twinveil.protocol.packed.masking import Masks
from twinveil.protocol.packed.model.s1 import ModelS1
from twinveil.protocol.packed.plan import ItemPlan, joined
from twinveil.protocol.packed.powers import Machine, input_sums
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

    It holds circuits by stage, and of each layer own sums (out, positions): conv(r, K1) + b1 and its shares
    of both sums made ahead. name: for S2, which holds the other half under it. meter: what it cost S1.
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
        key, tally, layers = machine.key, machine.tally, plan.layout.layers
        peer = CountedPeer(self._peer)
        meter = Meter(peer, tally)
        name = pb.Spend.Item(session_id=self._session, number=self._asked)
        request = pb.MakeItem(number=self._asked, base_ot_reply=self._base_ot_reply)
        self._asked, self._base_ot_reply = self._asked + 1, b""
        with meter.function("ahead"):
            inputs = unless_withheld(peer.ask(pb.Round(make_item=request)), "item_inputs").item_inputs
        with meter.function("garbling"):
            self._chosen.accept(inputs.extension, plan.transfers)
            circuits = [circuit.garble(self._chosen) for circuit in plan.circuits]
        r = {piece: mask for half in circuits for piece, mask in half.masks.items()}
        read = {step.node.name: joined(step, r) for step in plan.layout.steps}
        with meter.function("SMP"):
            encrypted = key.parse_array(
                inputs.ciphertexts, plan.layout.encryptions, tally, machine.workers.here
            )
            masks = Masks(plan.sheets, self._choosing)
            masked = self._sums(read, encrypted).add_plain(masks.s)
            tally += key.add_plain_counts(len(masked))
            fresh = self._rerandomiser.freshen(masked, workers=machine.workers)
        offer = pb.Round(
            item_offer=pb.ItemOffer(
                ciphertexts=fresh.to_bytes(), extension=masks.extension, corrections=masks.corrections
            )
        )
        for half in circuits:  # in their place: a message that is put into another is copied
            offer.item_offer.circuits.add(**half.offer()._asdict())
        with meter.function("ahead"):
            words = expect(peer.ask(offer), "item_words").item_words.words
        with meter.function("SMP"):
            shares, own = iter(masks.open(words)), {}
            for layer_name, layer in layers.items():
                ahead = (next(shares) + next(shares)).reshape(layer.geometry.channels, -1)
                clear = model.own[layer_name].sums(read[layer_name]) + model.biases[layer_name][:, np.newaxis]
                own[layer_name] = modulo(clear + ahead, layer.ring)
        return ItemS1(name, circuits, own, meter)

    def _sums(self, read: Mapping[str, Words], encrypted: Residues) -> Residues:
        """E(conv(r, K2)) and E(conv(u, K1)) of every layer. read: r as each layer reads it."""
        model, layers = self._model, self._plan.layout.layers
        kernels = [model.kernels[name] for name in layers]
        of_inputs = input_sums(list(layers.values()), kernels, encrypted, self._machine)
        sums = []
        for (name, layer), of_input in zip(layers.items(), of_inputs, strict=True):
            sums += [model.tables.sums(layer, read[name], self._machine), of_input]
        return Residues.joined(sums)
