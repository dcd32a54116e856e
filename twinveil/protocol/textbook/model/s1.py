"""Import of a model into the textbook engine, S1's side.

owner -> S1   A = K*M, b' = b + r                S2 has M^-1, r
S1 -> S2      open
S2 -> S1      E(M^-1), E(N - r)
for every layer:
S1            E(P) = E(M^-1)^A    E(P_b) = E(b') * E(N - r)
S1 -> S2      E(P + s)                            S2 decrypts: uniform but for sigma
both          circuit: u = slot of (z - s), u + R to S2    forces 0 <= u < 2^bits
S2 -> S1      E(u + R), a ciphertext a value; S2 keeps nothing
S1            E(K) = E(u + R) * E(-R - 2^(w-1)), E(b) likewise
S1 -> S2      commit: now both have the model, whole
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import gmpy2
import numpy as np
from gmpy2 import mpz

from twinveil.crypto.nonces import Rerandomiser
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import POWER_N2, Tally
from twinveil.garbling.base_ot import BaseReceiver, random_choices
from twinveil.garbling.bits import bits_to_integers
from twinveil.garbling.ot_extension import ExtensionSender
from twinveil.halves.blinding import Blinding, Segment
from twinveil.halves.integers import Half
from twinveil.network.plan import Linear
from twinveil.parallel import Workers
from twinveil.protocol.textbook.garbled import GarblerSide
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.textbook.wide import Bits, random_bits
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.peer import Ask
from twinveil.rounds.scripted import ROUNDS_VERSION, SESSION_BYTES, expect
from twinveil.rpc import rounds_pb2 as pb
from twinveil.rpc.types_pb2 import Progress

Blinded = Iterator[tuple[mpz, mpz]]
"""Of each plaintext this cloud's half, A or b', and S2's ciphertext, E(M^-1) or E(N - r)."""


@dataclass
class ModelS1:
    """What S1 keeps of a model: by layer, E(K) in the weights' order, and E(b)."""

    layout: ImportLayout
    kernels: dict[str, list[mpz]] = field(default_factory=dict, repr=False)
    biases: dict[str, list[mpz]] = field(default_factory=dict, repr=False)


def import_model(
    ask: Ask,
    import_id: bytes,
    binding: bytes,
    layout: ImportLayout,
    half: Half,
    key: PublicKey,
    workers: Workers,
    tally: Tally,
    observer: Observer = NOBODY,
) -> Generator[Progress, None, ModelS1]:
    """Run the import against S2; yields progress before each layer, returns the model.

    binding: of what the owner said of it. half: checked already (halves/integers.py). The caller stores the
    model, then asks S2 to commit.
    """
    plan = layout.plan
    for name, pair in half.items():
        for what, numbers in zip(("weights", "biases"), pair, strict=True):
            observer.half(f"{what} {name}", numbers)
    session = secrets.token_bytes(SESSION_BYTES)
    opening = pb.OpenImport(
        protocol_version=ROUNDS_VERSION,
        session_id=session,
        import_id=import_id,
        layout=layout.digest,
        engine="textbook",
        binding=binding,
    )
    opened = expect(ask(pb.Round(open_import=opening)), "import_opened").import_opened
    weights = [a for node in plan.linear_nodes for a in half[node.name][0]]
    biases = [b for node in plan.linear_nodes for b in half[node.name][1]]
    blinded = {
        "weights": zip(weights, key.parse(opened.factors, len(weights), tally), strict=True),
        "biases": zip(biases, key.parse(opened.differences, len(biases), tally), strict=True),
    }
    choices = random_choices()
    base = BaseReceiver(session, opened.base_ot, choices)
    ot = ExtensionSender(base.keys, choices, session)
    base_ot = base.reply  # with the first message that goes out

    model, rerandomiser = ModelS1(layout), Rerandomiser(key, tally)
    for done, node in enumerate(plan.linear_nodes):
        yield Progress(stage=done, stages=len(plan.linear_nodes), label=node.name)
        parts = layout.parts(node)
        drawn: list[Mapping[str, Bits]] = []
        for part in parts:
            step = layout.step(part)
            garbler = GarblerSide(step)
            masked, inputs = _mask_part(layout, part, blinded, key, tally)
            fresh = rerandomiser.freshen(masked, workers=workers)
            sent = pb.MaskedPlaintexts(ciphertexts=fresh.to_bytes(), base_ot=base_ot)
            chosen = expect(ask(pb.Round(masked_plaintexts=sent)), "corrections").corrections
            base_ot = b""
            ot.accept(chosen.extension, step.choices)
            reply = ask(pb.Round(garbled_batch=garbler.send(ot, inputs, chosen.bits)))
            expect(reply, "encrypted_shares" if part is parts[-1] else "done")
            drawn.append(inputs)
        masks = {
            "weights": np.concatenate([inputs["mask.weights"] for inputs in drawn], axis=1),
            "biases": drawn[-1]["mask.biases"],
        }
        _keep(model, node, masks, key, reply.encrypted_shares.ciphertexts, tally)
    return model


def _mask_part(
    layout: ImportLayout,
    part: Sequence[Segment],
    blinded: Mapping[str, Blinded],
    key: PublicKey,
    tally: Tally,
) -> tuple[list[mpz], dict[str, Bits]]:
    """E(P + s) of one part, and the circuit's inputs: fresh masks s and R of each of its segments."""
    masked: list[mpz] = []
    inputs: dict[str, Bits] = {}
    for segment in part:
        mask = random_bits(segment.plaintext_mask_bits(layout.params.sigma), segment.plaintexts)
        inputs[f"s.{segment.name}"] = mask[: segment.packed_bits]
        inputs[f"mask.{segment.name}"] = random_bits(layout.mask_bits(segment), segment.count, top=1)
        plaintexts = _unblind(segment, islice(blinded[segment.name], segment.plaintexts), key, tally)
        masked += key.add_plain(plaintexts, bits_to_integers(mask), tally)
    return masked, inputs


def _unblind(segment: Segment, blinded: Blinded, key: PublicKey, tally: Tally) -> list[mpz]:
    """E(P) of one segment."""
    if segment.blinding is Blinding.MULTIPLICATIVE:
        tally.add(POWER_N2, segment.plaintexts)
        return [gmpy2.powmod(c, a, key.n_squared) for a, c in blinded]
    halves, differences = zip(*blinded, strict=True)
    return key.add_plain(differences, halves, tally)


def _keep(
    model: ModelS1, node: Linear, masks: Mapping[str, Bits], key: PublicKey, data: bytes, tally: Tally
) -> None:
    """Take the masks R and the offset off E(u + R). masks: R by weights and biases."""
    segments = model.layout.segments(node)
    ciphertexts = iter(key.parse(data, sum(segment.count for segment in segments), tally))
    for segment, kept in zip(segments, (model.kernels, model.biases), strict=True):
        offset = 1 << (segment.bits - 1)
        off = [-(mask + offset) for mask in bits_to_integers(masks[segment.name])]
        kept[node.name] = key.add_plain(list(islice(ciphertexts, segment.count)), off, tally)
