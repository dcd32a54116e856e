"""Import of a model into the packed engine, S1's side.

owner -> S1   A = K*M packed, b + r mod 2^L      S2 has M^-1, r
S1 -> S2      open
S2 -> S1      E(M^-1)
for every layer:
S1            E(P) = E(M^-1)^A
S1 -> S2      E(P + s), one mask a plaintext; its choices for the borrows
S2            K2 from z = P + s
S2 -> S1      words of the borrows; E(K2), as conv(r, K2) reads it
S1            K1 from s
S1 -> S2      commit: now both have the model, whole

No circuit and no check: K1 + K2 = K mod 2^L for whatever K was sent. E(P) comes straight from an owner, who
may have made P anything below N, and is never raised to r: slots' bounds rest on E(K2), which S2 made.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import cached_property

from gmpy2 import mpz

from twinveil.crypto.nonces import Rerandomiser
from twinveil.crypto.tally import POWER_N2
from twinveil.garbling.base_ot import BaseSender
from twinveil.garbling.ot_extension import ExtensionReceiver
from twinveil.halves.blinding import COUNT_BITS
from twinveil.halves.ring import ModelHalf
from twinveil.protocol.packed.linear import OwnWeights
from twinveil.protocol.packed.masking import Masks
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.protocol.packed.powers import KernelTables, Machine
from twinveil.ring import Words
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.peer import Ask
from twinveil.rounds.scripted import ROUNDS_VERSION, SESSION_BYTES, expect
from twinveil.rpc import rounds_pb2 as pb
from twinveil.rpc.types_pb2 import Progress


@dataclass
class ModelS1:
    """What S1 keeps of a model: by layer, K1 (shape of the weights) and b1 modulo 2^L, and E(K2)."""

    layout: ModelLayout
    kernels: dict[str, Words] = field(default_factory=dict, repr=False)
    biases: dict[str, Words] = field(default_factory=dict, repr=False)
    encrypted: dict[str, list[mpz]] = field(default_factory=dict, repr=False)

    @cached_property
    def tables(self) -> KernelTables:
        return KernelTables(self.layout.item, self.encrypted)

    @cached_property
    def own(self) -> dict[str, OwnWeights]:
        """K1, ready to be multiplied."""
        return {
            node.name: OwnWeights(node, self.kernels[node.name]) for node in self.layout.plan.linear_nodes
        }


def import_model(
    ask: Ask,
    import_id: bytes,
    binding: bytes,
    layout: ModelLayout,
    half: ModelHalf,
    machine: Machine,
    observer: Observer = NOBODY,
) -> Generator[Progress, None, ModelS1]:
    """Run the import against S2; yields progress before each layer, returns the model.

    binding: of what the owner said of it. The caller stores the model, then asks S2 to commit.
    """
    plan, key, tally = layout.plan, machine.key, machine.tally
    for name, blinded in half.kernels.items():
        observer.half(f"weights {name}", blinded)
    for node in plan.linear_nodes:
        observer.half_words(f"biases {node.name}", half.biases[node.name], node.accumulator_bits)
    session = secrets.token_bytes(SESSION_BYTES)
    base = BaseSender(session)
    opening = pb.OpenImport(
        protocol_version=ROUNDS_VERSION,
        session_id=session,
        import_id=import_id,
        layout=layout.digest,
        engine="packed",
        binding=binding,
        base_ot=base.first(),
    )
    opened = expect(ask(pb.Round(open_import=opening)), "import_opened").import_opened
    transfers = ExtensionReceiver(base.keys(opened.base_ot), session)
    exponents = [blinded for node in plan.linear_nodes for blinded in half.kernels[node.name]]
    # All at once: powers fill the lanes, and run on threads of this process wherever workers are.
    factors = key.parse_array(opened.factors, len(exponents), tally, machine.workers.count)
    packed, start = factors.power(exponents, key.bits), 0
    tally.add(POWER_N2, len(packed))
    rerandomiser = Rerandomiser(key, tally, more=COUNT_BITS)
    model = ModelS1(layout, biases=dict(half.biases))
    for done, node in enumerate(plan.linear_nodes):
        yield Progress(stage=done, stages=len(plan.linear_nodes), label=node.name)
        sheet, layer = layout.sheet(node), layout.item.layers[node.name]
        masks = Masks([sheet], transfers)
        part = packed[start : start + len(masks.s)]
        start += len(part)
        masked = rerandomiser.freshen(part.add_plain(masks.s), workers=machine.workers)
        tally += key.add_plain_counts(len(part))
        sent = pb.MaskedKernel(
            ciphertexts=masked.to_bytes(), extension=masks.extension, corrections=masks.corrections
        )
        shared = expect(ask(pb.Round(masked_kernel=sent)), "shared_kernel").shared_kernel
        model.kernels[node.name] = masks.open(shared.words)[0].reshape(plan.weight_shape(node))
        model.encrypted[node.name] = key.parse(
            shared.kernels, layer.kernel.chunks * layer.kernel.bases, tally
        )
    return model
