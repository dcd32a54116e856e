"""Import of a model into the packed engine, S2's side (the conversation is drawn in s1.py).

S2 sees: M^-1 and r (uniform), z = P + s (uniform but for 2^-sigma). It sees no weight. Nothing fails or
depends on what it decrypts.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from functools import cached_property

from twinveil.crypto.nonces import Encryptor
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.slots import pack
from twinveil.garbling.base_ot import BaseReceiver, random_choices
from twinveil.garbling.ot_extension import ExtensionSender
from twinveil.halves.ring import ModelHalf
from twinveil.parallel import INLINE, Workers
from twinveil.protocol.binding import check_layout
from twinveil.protocol.packed.geometry import placed
from twinveil.protocol.packed.layout import MORE_TOWARDS_S1
from twinveil.protocol.packed.linear import OwnWeights
from twinveil.protocol.packed.masking import accept, share
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.ring import Words, negate
from twinveil.rounds.observer import NOBODY, Masking, Observer
from twinveil.rounds.scripted import check_opening, expect
from twinveil.rpc import rounds_pb2 as pb


@dataclass
class ModelS2:
    """What S2 keeps of a model: by layer, K2 (shape of the weights) and b2 modulo 2^L."""

    layout: ModelLayout
    kernels: dict[str, Words] = field(default_factory=dict, repr=False)
    biases: dict[str, Words] = field(default_factory=dict, repr=False)

    @cached_property
    def own(self) -> dict[str, OwnWeights]:
        """K2, ready to be multiplied."""
        return {
            node.name: OwnWeights(node, self.kernels[node.name]) for node in self.layout.plan.linear_nodes
        }


def import_model(
    opening: pb.OpenImport,
    layout: ModelLayout,
    half: ModelHalf,
    key: SecretKey,
    workers: Workers = INLINE,
    observer: Observer = NOBODY,
) -> Generator[pb.Round, pb.Round, tuple[ModelS2, pb.Round]]:
    """S2's conversation from `opening` to its last reply; the model, and the request that comes next."""
    check_opening(opening)
    check_layout(opening, "packed", layout.digest)
    plan, public = layout.plan, key.public_key
    for name, blindings in half.kernels.items():
        observer.half(f"weights {name}", blindings)
    for node in plan.linear_nodes:
        observer.half_words(f"biases {node.name}", half.biases[node.name], node.accumulator_bits)
    encryptor = Encryptor(public, key.tally, MORE_TOWARDS_S1)
    choices = random_choices()
    base = BaseReceiver(opening.session_id, opening.base_ot, choices)
    transfers = ExtensionSender(base.keys, choices, opening.session_id)
    factors = [m for node in plan.linear_nodes for m in half.kernels[node.name]]
    request = yield pb.Round(
        import_opened=pb.ImportOpened(
            factors=encryptor.encrypt(factors, workers=workers).to_bytes(), base_ot=base.reply
        )
    )
    model = ModelS2(layout)
    for node in plan.linear_nodes:
        masked = expect(request, "masked_kernel").masked_kernel
        sheet, layer = layout.sheet(node), layout.item.layers[node.name]
        ciphertexts = public.parse(masked.ciphertexts, len(sheet.outputs), key.tally)
        corrections = accept([sheet], transfers, masked.extension, masked.corrections)
        plaintexts = key.decrypt(ciphertexts, workers=workers)
        observer.decrypted(f"weights {node.name}", plaintexts, Masking(sheet.mask_bits))
        words, (kernel,) = share([sheet], plaintexts, transfers, corrections)
        packed = []
        for chunk in range(layer.kernel.chunks):
            packed += pack(placed(kernel, layer.kernel.weights(chunk), layer.ring), layer.slots.bits)
        model.kernels[node.name] = kernel.reshape(plan.weight_shape(node))
        model.biases[node.name] = negate(half.biases[node.name], node.accumulator_bits)
        fresh = encryptor.encrypt(packed, workers=workers)
        request = yield pb.Round(shared_kernel=pb.SharedKernel(words=words, kernels=fresh.to_bytes()))
    return model, request
