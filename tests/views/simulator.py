"""Makes each cloud's view of a query from leakage alone: the plan, the public key, counts.

It knows no picture, no weight, no class. For S2 it stands in for S1: encryptions of uniform masks, uniform
bytes for garbled circuits and labels. For S1 it stands in for S2: encryptions of zero, uniform bits. Each
cloud's own code runs on that, with its own randomness, and the usual observer writes down what it saw; a
client's half is a uniform unit.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
from gmpy2 import mpz

from tests.protocol.clouds import Claimed, finish, key
from twinveil.blinding import COUNT_BITS, GUARD_BITS, picture_segment
from twinveil.crypto.nonces import Encryptor, Rerandomiser
from twinveil.crypto.packing import draw_masks
from twinveil.crypto.tally import Tally
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.ot_extension import correction_bytes, masked_bytes, prepare_bytes
from twinveil.net.memory import MemoryPeer
from twinveil.net.observed import ObservedConversation, ObservedPeer
from twinveil.parallel import INLINE
from twinveil.params import Params
from twinveil.plan import Plan
from twinveil.protocol.conversation import Script, Scripted
from twinveil.protocol.garbled import Step
from twinveil.protocol.meter import Meter
from twinveil.protocol.model.layout import PROTOCOL_VERSION
from twinveil.protocol.model.s1 import ModelS1
from twinveil.protocol.model.s2 import ModelS2
from twinveil.protocol.observer import Observer
from twinveil.protocol.packed.layout import LayerLayout, PackedLayout, Slots
from twinveil.protocol.packed.steps import steps
from twinveil.protocol.query.binding import QueryHead
from twinveil.protocol.query.engines_s1 import query_s1
from twinveil.protocol.query.engines_s2 import query_s2
from twinveil.protocol.query.s1 import Tools
from twinveil.rpc import rounds_pb2 as pb


class Simulator:
    """Views of packed queries for the class vector."""

    def __init__(self, plan: Plan, key_bits: int) -> None:
        self.plan, self.params = plan, Params(key_bits, insecure_small_key=True)
        self.secret = key(key_bits)
        self.public = self.secret.public_key
        self.layout = PackedLayout(plan, key_bits, self.params.sigma)
        self.steps = steps(self.layout)
        self.picture = picture_segment(plan, 1, key_bits=key_bits, sigma=self.params.sigma)
        self.encryptor = Encryptor(self.public, Tally())
        self.rerandomiser = Rerandomiser(self.public, Tally())

    def view_of_s2(self, model: ModelS2, observer: Observer) -> None:
        """model: S2's own shares of the weights, which belong to its view."""
        head = QueryHead(secrets.token_bytes(16), "user", bytes(16), self.plan.hash, "packed", False, 1)

        def script(opening: pb.Round) -> Script:
            own, claimed = (model, self.secret, INLINE, self.params), Claimed(head, list(self._units()))
            return query_s2(opening.open_query, *own, lambda _: claimed, False, Meter(), observer=observer)

        peer = MemoryPeer(ObservedConversation(Scripted(script), observer))
        session = secrets.token_bytes(16)
        opening = pb.OpenQuery(
            protocol_version=PROTOCOL_VERSION,
            session_id=session,
            import_id=head.import_id,
            layout=model.layout.digest,
            engine="packed",
            pictures=1,
        )
        point = peer.ask(pb.Round(open_query=opening)).query_opened.base_ot
        points = BaseReceiver(session, point, random_choices()).reply
        layers = self.layout.layers.values()
        ahead = b"".join(self._masks(layer.ahead_sums, layer.ahead) for layer in layers)
        peer.ask(pb.Round(prepare=pb.Prepare(base_ot=points, masked_sums=ahead)))
        peer.ask(pb.Round(bind=pb.Bind(query_id=head.query_id, binding=head.binding())))
        bits = self.picture.packed_bits + GUARD_BITS + self.params.sigma + COUNT_BITS
        drawn = [mpz(secrets.randbits(bits)) for _ in range(self.picture.plaintexts)]
        peer.ask(pb.Round(masked_plaintexts=pb.MaskedPlaintexts(ciphertexts=self._for_s2(drawn))))
        circuits = iter(self.steps)
        peer.ask(self._circuit(next(circuits)))
        for stage in self.layout.schedule.stages[1:]:
            online = [
                (self.layout.step(step).online_sums, self.layout.step(step).online) for step in stage.linear
            ]
            sums = b"".join(self._masks(count, slots) for count, slots in online)
            peer.ask(pb.Round(masked_sums=pb.MaskedSums(ciphertexts=sums)))
            if stage.outputs:
                peer.ask(self._circuit(next(circuits)))
        peer.close()

    def view_of_s1(self, model: ModelS1, observer: Observer) -> None:
        """model: S1's own shares and ciphertexts of the weights, which belong to its view."""
        tools = Tools(self.public, self.rerandomiser, INLINE, self.params)
        peer = ObservedPeer(MemoryPeer(Scripted(self._replies)), observer)
        query = query_s1(model, bytes(16), "packed", tools, peer, observer=observer)
        query.prepare()
        head = QueryHead(secrets.token_bytes(16), "user", bytes(16), self.plan.hash, "packed", False, 1)
        finish(query.classify(head, self._units()))
        peer.close()

    def _replies(self, opening: pb.Round) -> Script:
        """S2's side of a query, made of nothing."""
        base = BaseSender(opening.open_query.session_id)
        yield pb.Round(query_opened=pb.QueryOpened(base_ot=base.first()))
        extension = secrets.token_bytes(prepare_bytes(sum(step.choices for step in self.steps)))
        yield pb.Round(prepared=pb.Prepared(extension=extension))
        yield pb.Round(import_factors=pb.ImportFactors(factors=self._zeros(self.picture.plaintexts)))
        circuits = iter(self.steps)
        yield self._corrections(next(circuits))
        stages = self.layout.schedule.stages
        for stage in stages[1:]:
            layers = [self.layout.step(step) for step in stage.linear]
            yield pb.Round(encrypted_shares=pb.EncryptedShares(ciphertexts=self._zeros(_shares(layers))))
            yield self._corrections(next(circuits)) if stage.outputs else pb.Round(answered=pb.Answered())

    def _units(self) -> list[mpz]:
        n = int(self.public.n)
        return [mpz(1 + secrets.randbelow(n - 1)) for _ in range(self.picture.plaintexts)]

    def _for_s2(self, plaintexts: Sequence[mpz]) -> bytes:
        return self.rerandomiser.freshen([self.public.raw(m) for m in plaintexts]).to_bytes()

    def _masks(self, count: int, slots: Slots) -> bytes:
        return self._for_s2(draw_masks(count, slots.count, slots.bytes, slots.mask_bits, slots.offset)[0])

    def _zeros(self, count: int) -> bytes:
        return self.encryptor.encrypt([0] * count).to_bytes()

    @staticmethod
    def _circuit(step: Step) -> pb.Round:
        counts = step.counts
        batch = pb.GarbledBatch(
            tables=secrets.token_bytes(counts.table_bytes),
            garbler_labels=secrets.token_bytes(counts.garbler_label_bytes),
            masked_labels=secrets.token_bytes(masked_bytes(step.choices)),
            decode=_random_bits(counts.output_bits),
        )
        return pb.Round(garbled_batch=batch)

    @staticmethod
    def _corrections(step: Step) -> pb.Round:
        made = _random_bits(step.choices)
        assert len(made) == correction_bytes(step.choices)
        return pb.Round(corrections=pb.Corrections(bits=made))


def _shares(layers: Sequence[LayerLayout]) -> int:
    return sum(int(layer.tap_blocks.sum()) for layer in layers)


def _random_bits(count: int) -> bytes:
    """Packed, the last byte filled up with zeros."""
    bits = np.unpackbits(np.frombuffer(secrets.token_bytes((count + 7) // 8), np.uint8), count=count)
    return np.packbits(bits, bitorder="little").tobytes()
