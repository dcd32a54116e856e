"""Import of a model, S2's side (the conversation is drawn in s1.py).

S2 sees: M^-1 and r (uniform), z = P + s (uniform but for 2^-sigma), u + R (likewise). It sees no weight.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np

from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import PeerMismatch
from twinveil.garbling.base_ot import BaseSender
from twinveil.garbling.ot_extension import ExtensionReceiver
from twinveil.halves.model import Half
from twinveil.network.plan import Plan
from twinveil.parallel import Workers
from twinveil.protocol.garbled import EvaluatorSide
from twinveil.protocol.model.layout import ImportLayout
from twinveil.protocol.wide import Bits, low_bits, place, to_words
from twinveil.ring import Words, modulo
from twinveil.rounds.observer import NOBODY, Masking, Observer, Topic
from twinveil.rounds.scripted import check_opening, expect
from twinveil.rpc import rounds_pb2 as pb


@dataclass
class ModelS2:
    """What S2 keeps of a model: its shares K2 by layer, modulo 2^accumulator_bits."""

    layout: ImportLayout
    shares: dict[str, Words] = field(default_factory=dict, repr=False)

    @property
    def plan(self) -> Plan:
        return self.layout.plan


def check_layout(message: pb.OpenImport, layout: ImportLayout) -> None:
    """Raises PeerMismatch unless S1 means the import that the owner described to S2."""
    if tuple(message.engines) != layout.engines or message.layout != layout.digest:
        raise PeerMismatch(
            "the owner sent the two clouds different plans, or they run different versions of Twinveil: "
            "install the same version on both and outsource the model again"
        )


def import_model(
    opening: pb.OpenImport,
    layout: ImportLayout,
    half: Half,
    key: SecretKey,
    workers: Workers,
    observer: Observer = NOBODY,
) -> Generator[pb.Round, pb.Round, ModelS2]:
    """S2's conversation after `opening`; yields replies, returns the model once S1 commits.

    The caller stores the returned model and only then answers Done.
    """
    check_opening(opening)
    check_layout(opening, layout)
    plan, n = layout.plan, key.public_key.n
    observer.about(Topic("import", plan, "+".join(layout.engines), 0, n, layout.params.sigma))
    for name, pair in half.items():
        for what, numbers in zip(("weights", "biases"), pair, strict=True):
            observer.half(f"{what} {name}", numbers)
    weights = [m for node in plan.linear_nodes for m in half[node.name][0]]
    biases = [(n - r) % n for node in plan.linear_nodes for r in half[node.name][1]]
    base = BaseSender(opening.session_id)
    request = yield pb.Round(
        import_opened=pb.ImportOpened(
            factors=key.encrypt(weights, workers=workers).to_bytes(),
            differences=key.encrypt(biases, workers=workers).to_bytes(),
            base_ot=base.first(),
        )
    )
    ot: ExtensionReceiver | None = None
    model = ModelS2(layout)
    for node in plan.linear_nodes:
        found: dict[str, list[Bits]] = {"weights": [], "biases": []}
        parts = layout.parts(node)
        for part in parts:
            masked = expect(request, "masked_plaintexts").masked_plaintexts
            if ot is None:
                ot = ExtensionReceiver(base.keys(masked.base_ot), opening.session_id)
            step = layout.step(part)
            count = sum(segment.plaintexts for segment in part)
            plaintexts = key.decrypt(key.public_key.parse(masked.ciphertexts, count), workers=workers)
            extension = ot.prepare(step.choices)
            evaluator = EvaluatorSide(step, ot, observer)
            inputs, start = {}, 0
            for segment in part:
                run = plaintexts[start : start + segment.plaintexts]
                inputs[f"z.{segment.name}"] = low_bits(run, segment.packed_bits)
                hidden = Masking(segment.plaintext_mask_bits(layout.params.sigma))
                observer.decrypted(f"{segment.name} {node.name}", run, hidden)
                start += segment.plaintexts
            request = yield pb.Round(
                corrections=pb.Corrections(bits=evaluator.choose(inputs), extension=extension)
            )
            outputs = evaluator.evaluate(expect(request, "garbled_batch").garbled_batch)
            for name, bits in outputs.items():
                found[name].append(bits)
            if part is not parts[-1]:
                request = yield pb.Round(done=pb.Done())
        values = {name: np.concatenate(pieces, axis=1) for name, pieces in found.items()}
        placed = [
            plaintext
            for placement in layout.placements(node)
            for plaintext in place(values[placement.segment.name], placement.slots, placement.slot_bytes)
        ]
        model.shares[node.name] = modulo(to_words(values["weights"]), node.accumulator_bits).reshape(
            plan.weight_shape(node)
        )
        request = yield pb.Round(
            encrypted_shares=pb.EncryptedShares(ciphertexts=key.encrypt(placed, workers=workers).to_bytes())
        )
    expect(request, "commit")
    return model
