"""What this machine can do: one second or two of measuring, from which a query's seconds follow.

Big integers have their calibrated cost by kind, gates and transfers a cost each, and what is left (Python,
numpy, serialisation, TLS, copying) goes by bytes and messages.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from twinveil.container import processors
from twinveil.crypto.calibration import calibrate, time_of
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.network.plan import IMAGE, Conv, Dense, Plan, Relu
from twinveil.network.schedule import schedule
from twinveil.protocol.packed.linear import OwnWeights
from twinveil.protocol.packed.stages import activation
from twinveil.ring import uniform
from twinveil.rounds.chunks import Assembler, cut
from twinveil.rpc.rounds_pb2 import Chunk, ItemWords, Round

LAYER = Plan(
    (8, 14, 14),
    8,
    (
        Conv("conv", IMAGE, 8, (3, 3), 1, 1, 8, 20),
        Relu("relu", "conv", 11, 8),
        Dense("dense", "relu", 2, 8, 24),
    ),
    8,
)
"""What a layer of the default network is like: 1,568 sums of 20 bits, and their ReLU."""
COPIES = 8
"""Of a payload byte at each side, beside serialising and encrypting: what gRPC and the kernel have of it."""
MESSAGE_SECONDS = 2e-4
"""Handling one message at one side: gRPC, threads, waking up. Seen on two cores over loopback."""


@dataclass(frozen=True)
class Machine:
    """Seconds on one thread, of both sides together where two take part.

    costs: of one big-integer operation by kind, at one key size. garble, evaluate: of one AND, ahead and
    online. prepare, transfer: of one oblivious transfer likewise; base: of the base transfers. product: of
    two integers in the clear. byte, message: of handling one at one side.
    """

    cores: int
    costs: Mapping[str, float]
    garble: float
    evaluate: float
    prepare: float
    transfer: float
    base: float
    product: float
    byte: float
    message: float = MESSAGE_SECONDS

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def measure(key_bits: int) -> Machine:
    """This machine at one key size, in a second or two."""
    garbling, evaluation = gates()
    prepare, transfer, base = transfers()
    return Machine(
        cores=processors(),
        costs=calibrate(key_bits),
        garble=garbling,
        evaluate=evaluation,
        prepare=prepare,
        transfer=transfer,
        base=base,
        product=_product(),
        byte=_byte(),
    )


def typical(machines: Sequence[Machine]) -> Machine:
    """The median of each figure: one that was measured while the machine had other work does not count."""
    first = machines[0]
    costs = {kind: median(each.costs[kind] for each in machines) for kind in first.costs}
    seconds = ("garble", "evaluate", "prepare", "transfer", "base", "product", "byte")
    return replace(
        first, costs=costs, **{name: median(getattr(each, name) for each in machines) for name in seconds}
    )


def gates(repeats: int = 7) -> tuple[float, float]:
    """Seconds of one AND of LAYER's ReLU at both sides together, ahead and online; least of `repeats`.

    Ahead it is garbled, S2 takes its labels and sets up keys; online S1 gives labels and S2 evaluates.
    """
    stages = schedule(LAYER)
    circuit = activation(stages, stages.stages[1], {"relu": stages.pieces["relu"].shape})
    count, clock = circuit.counts.and_gates, _Clock()
    receiver, sender = _extensions()
    found: list[tuple[float, float]] = []
    for _ in range(repeats):
        sender.accept(receiver.prepare(circuit.transfers), circuit.transfers)
        clock.lap()
        made = circuit.garble(sender)
        held = circuit.hold(made.offer(), receiver)
        ahead = clock.lap()
        held.open(made.answer(held.drawn))
        found.append((ahead / count, clock.lap() / count))
    return min(ahead for ahead, _ in found), min(online for _, online in found)


def transfers(count: int = 1 << 16) -> tuple[float, float, float]:
    """Seconds of one oblivious transfer ahead and online, and of the base transfers; both sides."""
    clock = _Clock()
    receiver, sender = _extensions()
    base = clock.lap()
    chosen, pairs = np.zeros(count, np.bool_), np.zeros((count, 2, 16), np.uint8)
    clock.lap()
    sender.accept(receiver.prepare(count), count)
    prepare = clock.lap()
    receiver.receive(sender.send(pairs, receiver.correct(chosen)))
    return prepare / count, clock.lap() / count, base


def _extensions() -> tuple[ExtensionReceiver, ExtensionSender]:
    session, s = secrets.token_bytes(16), random_choices()
    base_sender = BaseSender(session)
    base_receiver = BaseReceiver(session, base_sender.first(), s)
    keys = base_sender.keys(base_receiver.reply)
    return ExtensionReceiver(keys, session), ExtensionSender(base_receiver.keys, s, session)


def _product() -> float:
    """Seconds of one product of integers in the clear, of LAYER's convolution."""
    (node, *_) = LAYER.linear_nodes
    ring = node.accumulator_bits
    weights = OwnWeights(node, uniform(LAYER.weight_shape(node), ring))
    values = uniform(LAYER.image_shape, ring)
    return least_seconds(lambda: weights.sums(values), 7) / LAYER.products(node)


def _byte() -> float:
    """Seconds that one payload byte costs at one side: serialised, cut, put together, encrypted, copied."""
    size, cipher = 1 << 22, AESGCM(bytes(16))
    payload = bytes(size)
    message = Round(item_words=ItemWords(words=payload))

    def carry() -> None:
        assembler = Assembler()
        for chunk in cut(message.SerializeToString(), 0):
            assembler.add(Chunk.FromString(chunk.SerializeToString()))

    both = time_of(carry, 2, rounds=5) + 2 * time_of(lambda: cipher.encrypt(bytes(12), payload, None), 2, 5)
    return (both / 2 + COPIES * time_of(lambda: bytearray(payload), 2, rounds=5)) / size


def least_seconds(function: Callable[[], object], repeats: int) -> float:
    """Least processor seconds of `repeats` calls; all of it is one thread."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds)


class _Clock:
    """Processor seconds of this thread since the last lap."""

    def __init__(self) -> None:
        self._last = time.thread_time()

    def lap(self) -> float:
        now = time.thread_time()
        took, self._last = now - self._last, now
        return took
