"""Each protocol step by itself, both sides in memory: seconds, bytes, round trips.

What a link adds is round trips times its latency and bytes over its bandwidth; `Step.on` says how much.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from twinveil.bench.textbook import TextbookSmp
from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import TwinveilError
from twinveil.estimate.machine import relu_layer
from twinveil.garbling import ideal
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.gates import Gates, Wires
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.garbling.windows import max_windows
from twinveil.params import Params
from twinveil.protocol.garbled import EvaluatorSide, GarblerSide, Step
from twinveil.rpc import rounds_pb2 as pb

SESSION = b"a step by itself"


@dataclass(frozen=True, slots=True)
class Measured:
    """A step. s1, s2: processor seconds of each side; ahead: of both, before any input. values: size."""

    name: str
    values: int
    ahead: float
    s1: float
    s2: float
    bytes: int
    round_trips: int

    def on(self, latency: float, bandwidth: float) -> float:
        """Seconds on a link: one way latency in seconds, bits a second."""
        return self.s1 + self.s2 + 2 * self.round_trips * latency + 8 * self.bytes / bandwidth

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"seconds": self.s1 + self.s2}


class _Laps:
    """Processor seconds since the last lap."""

    def __init__(self) -> None:
        self._last = time.process_time()

    def lap(self) -> float:
        now = time.process_time()
        took, self._last = now - self._last, now
        return took


def all_steps(key: SecretKey, params: Params, quick: bool = False) -> Iterator[Measured]:
    """The steps that many come for."""
    yield textbook_smp(key, params, 2 if quick else 20)
    yield garbled("ReLU layer", relu_layer(20, 98 if quick else 1568), 98 if quick else 1568)
    side = 7 if quick else 14
    yield garbled("pool layer, 3x3", pool_layer(8, 8, side), 8 * side * side)
    for bits in (128,) if quick else (1024, 1 << 17):
        yield transfers(bits)


def textbook_smp(key: SecretKey, params: Params, products: int) -> Measured:
    """SMP of single values, as published."""
    smp = TextbookSmp(key, params)
    seconds, peer = smp.run(products)
    traffic = peer.total()
    at_s1 = seconds - traffic.waited
    return Measured("SMP, textbook", products, 0.0, at_s1, traffic.waited, traffic.bytes, traffic.rounds)


def pool_layer(bits: int, channels: int, side: int) -> Step:
    """3x3 windows of stride 1 over `channels` pictures that S2 has masked."""

    def program(g: Gates, a: Mapping[str, Wires], b: Mapping[str, Wires]) -> dict[str, Wires]:
        return {"y": g.xor(max_windows(g, b["x"], 3, 1, 1), a["r"])}

    shape = (bits, channels, side, side)
    return Step(program, {"r": shape}, {"x": shape})


def garbled(name: str, step: Step, values: int) -> Measured:
    """A garbled step from S2's bits to S2's outputs: one round trip and a half, the transfers prepared."""
    laps = _Laps()
    sender, receiver = _extension(step.choices)
    garbler = GarblerSide(step)
    ahead = laps.lap()
    evaluator = EvaluatorSide(step, receiver)
    zeros = {bundle: np.zeros(shape, np.bool_) for bundle, shape in step.evaluator.items()}
    masks = {bundle: np.zeros(shape, np.bool_) for bundle, shape in step.garbler.items()}
    laps.lap()
    corrections = pb.Round(corrections=pb.Corrections(bits=evaluator.choose(zeros)))
    s2 = laps.lap()
    batch = pb.Round(garbled_batch=garbler.send(sender, masks, corrections.corrections.bits))
    s1 = laps.lap()
    evaluator.evaluate(batch.garbled_batch)
    s2 += laps.lap()
    return Measured(name, values, ahead, s1, s2, corrections.ByteSize() + batch.ByteSize(), 1)


def transfers(bits: int) -> Measured:
    """Oblivious transfers of labels for that many choice bits, from prepared ones."""
    laps = _Laps()
    sender, receiver = _extension(bits)
    ahead = laps.lap()
    pairs, chosen = np.zeros((bits, 2, 16), np.uint8), np.ones(bits, np.bool_)
    pairs[:, 1] = 1
    laps.lap()
    corrections = receiver.correct(chosen)
    s2 = laps.lap()
    masked = sender.send(pairs, corrections)
    s1 = laps.lap()
    got = receiver.receive(masked)
    s2 += laps.lap()
    if not np.array_equal(got, ideal.transfer(pairs, chosen)):
        raise TwinveilError("oblivious transfer gave a wrong string")
    return Measured("OT", bits, ahead, s1, s2, len(corrections) + len(masked), 1)


def _extension(count: int) -> tuple[ExtensionSender, ExtensionReceiver]:
    s = random_choices()
    base_sender = BaseSender(SESSION)
    base_receiver = BaseReceiver(SESSION, base_sender.first(), s)
    receiver = ExtensionReceiver(base_sender.keys(base_receiver.reply), SESSION)
    sender = ExtensionSender(base_receiver.keys, s, SESSION)
    sender.accept(receiver.prepare(count), count)
    return sender, receiver
