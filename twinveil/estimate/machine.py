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
from twinveil.crypto.tally import POWER_P2
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.evaluator import evaluate
from twinveil.garbling.gadgets import add_mask, relu_requantise, subtract
from twinveil.garbling.garbler import garble
from twinveil.garbling.gates import Gates, Wires
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.protocol.textbook.garbled import GarbledStep
from twinveil.rpc.rounds_pb2 import Chunk

LAYER = (20, 1568)
"""Bits and values of the ReLU layer on which garbling is timed: the first of the default network."""
COPIES = 4
"""How often a payload byte is handled at each side beside serialising and TLS: cut, joined, parsed, used."""
MESSAGE_SECONDS = 1.5e-3
"""Handling one message at one side: gRPC, threads, waking up. Seen on two cores over loopback."""


@dataclass(frozen=True)
class Machine:
    """Seconds on one thread, of both sides together where two take part.

    costs: of one big-integer operation by kind, at one key size. garble, evaluate: of one AND. prepare,
    transfer: of one oblivious transfer, ahead and online; base: of the base transfers. byte, message: of
    handling one at one side.
    """

    cores: int
    costs: Mapping[str, float]
    garble: float
    evaluate: float
    prepare: float
    transfer: float
    base: float
    byte: float
    message: float = MESSAGE_SECONDS

    @property
    def decryption(self) -> float:
        """D: one decryption by CRT is two powers of half the length."""
        return 2 * self.costs[POWER_P2]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def measure(key_bits: int) -> Machine:
    """This machine at one key size, in a second or two."""
    garbling, evaluation = gates(*LAYER)
    prepare, transfer, base = transfers()
    return Machine(
        cores=processors(),
        costs=calibrate(key_bits),
        garble=garbling,
        evaluate=evaluation,
        prepare=prepare,
        transfer=transfer,
        base=base,
        byte=_byte(),
    )


def typical(machines: Sequence[Machine]) -> Machine:
    """The median of each figure: one that was measured while the machine had other work does not count."""
    first = machines[0]
    costs = {kind: median(each.costs[kind] for each in machines) for kind in first.costs}
    seconds = ("garble", "evaluate", "prepare", "transfer", "base", "byte")
    return replace(
        first, costs=costs, **{name: median(getattr(each, name) for each in machines) for name in seconds}
    )


def relu_layer(bits: int, values: int) -> GarbledStep:
    """A layer's ReLU: subtract the mask, requantise to 8 bits, mask again."""

    def program(g: Gates, a: Mapping[str, Wires], b: Mapping[str, Wires]) -> dict[str, Wires]:
        value = subtract(g, b["z"], a["s"])
        return {"y": add_mask(g, relu_requantise(g, value, 7, 8), a["r"])}

    return GarbledStep(program, {"s": (bits, values), "r": (bits, values)}, {"z": (bits, values)})


def gates(bits: int, values: int, repeats: int = 7) -> tuple[float, float]:
    """Seconds to garble and to evaluate one AND of one instance of a ReLU layer; least of `repeats`."""
    step = relu_layer(bits, values)
    counts = step.counts
    made = garble(step.program, step.garbler, step.evaluator, counts)
    own = made.garbler_labels({name: np.zeros(shape, np.bool_) for name, shape in step.garbler.items()})
    labels = np.ascontiguousarray(made.evaluator_pairs()[:, 0])
    tables, decode = made.tables, made.decode

    def play() -> object:
        return evaluate(step.program, step.garbler, step.evaluator, tables, own, labels, decode, counts)

    garbled = least_seconds(lambda: garble(step.program, step.garbler, step.evaluator, counts), repeats)
    return garbled / counts.and_gates, least_seconds(play, repeats) / counts.and_gates


def transfers(count: int = 1 << 16) -> tuple[float, float, float]:
    """Seconds of one oblivious transfer ahead and online, and of the base transfers; both sides."""
    clock = _Clock()
    session, s = secrets.token_bytes(16), random_choices()
    base_sender = BaseSender(session)
    base_receiver = BaseReceiver(session, base_sender.first(), s)
    keys = base_sender.keys(base_receiver.reply)
    base = clock.lap()
    receiver, sender = ExtensionReceiver(keys, session), ExtensionSender(base_receiver.keys, s, session)
    chosen, pairs = np.zeros(count, np.bool_), np.zeros((count, 2, 16), np.uint8)
    clock.lap()
    sender.accept(receiver.prepare(count), count)
    prepare = clock.lap()
    receiver.receive(sender.send(pairs, receiver.correct(chosen)))
    return prepare / count, clock.lap() / count, base


def _byte() -> float:
    """Seconds that one payload byte costs at one side: serialised, encrypted, copied."""
    size = 1 << 20
    payload, cipher = bytes(size), AESGCM(bytes(16))
    serialise = time_of(lambda: Chunk(data=payload).SerializeToString(), 4, rounds=5)
    encrypt = time_of(lambda: cipher.encrypt(bytes(12), payload, None), 4, rounds=5)
    copy = time_of(lambda: bytearray(payload), 4, rounds=5)
    return (serialise + encrypt + COPIES * copy) / size


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
