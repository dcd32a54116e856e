"""Import of a model into the textbook engine, S2's side (the conversation is drawn in s1.py).

S2 sees: M^-1 and r (uniform), z = P + s (uniform but for 2^-sigma), u + R (likewise). It sees no weight, and
keeps nothing.
"""

from __future__ import annotations

import numpy as np
from gmpy2 import mpz

from twinveil.crypto.secret_key import SecretKey
from twinveil.garbling.base_ot import BaseSender
from twinveil.garbling.bits import bits_to_integers
from twinveil.garbling.ot_extension import ExtensionReceiver
from twinveil.halves.integers import Half
from twinveil.parallel import Workers
from twinveil.protocol.binding import check_layout
from twinveil.protocol.textbook.garbled import EvaluatorSide
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.textbook.wide import Bits, low_bits
from twinveil.rounds.observer import NOBODY, Masking, Observer
from twinveil.rounds.scripted import Dialogue, check_opening, expect
from twinveil.rpc import rounds_pb2 as pb


def import_model(
    opening: pb.OpenImport,
    layout: ImportLayout,
    half: Half,
    key: SecretKey,
    workers: Workers,
    observer: Observer = NOBODY,
) -> Dialogue:
    """S2's conversation from `opening` to its last reply; returns the request that comes next."""
    check_opening(opening)
    check_layout(opening, "textbook", layout.digest)
    plan, n = layout.plan, key.public_key.n
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
    for node in plan.linear_nodes:
        found: dict[str, list[Bits]] = {"weights": [], "biases": []}
        parts = layout.parts(node)
        for part in parts:
            masked = expect(request, "masked_plaintexts").masked_plaintexts
            if ot is None:
                ot = ExtensionReceiver(base.keys(masked.base_ot), opening.session_id)
            step = layout.step(part)
            count = sum(segment.plaintexts for segment in part)
            ciphertexts = key.public_key.parse(masked.ciphertexts, count, key.tally)
            plaintexts = key.decrypt(ciphertexts, workers=workers)
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
        plain = [value for name in ("weights", "biases") for value in bits_to_integers(values[name])]
        made = key.encrypt([mpz(value) for value in plain], workers=workers).to_bytes()
        request = yield pb.Round(encrypted_shares=pb.EncryptedShares(ciphertexts=made))
    return request
