"""Each protocol step by itself, for some sizes: processor seconds of each side, bytes and trips as counted.

What a link adds is its latency for each message and bytes over its bandwidth; `StepRuns.on` says how much.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from together.bench.dialogue import Run, play
from together.bench.packed_smp import PackedSmp
from together.bench.picture import spread
from together.bench.textbook import TextbookSmp
from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import TwinveilError
from twinveil.estimate.machine import relu_layer
from twinveil.estimate.seconds import Link
from twinveil.garbling import ideal
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.bits import to_bits
from twinveil.garbling.circuit import Shapes, run_plain
from twinveil.garbling.gates import Gates, Wires
from twinveil.garbling.labels import LABEL_BYTES, Bools
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.garbling.windows import max_windows
from twinveil.params import Params
from twinveil.protocol.textbook.engine import Ask
from twinveil.protocol.textbook.garbled import EvaluatorSide, GarbledStep, GarblerSide
from twinveil.rounds.scripted import SESSION_BYTES, Script, expect
from twinveil.rpc import rounds_pb2 as pb

ACCUMULATOR_BITS = 20
CHANNELS = 8
TEXTBOOK_PRODUCTS = (1, 20, 140)
"""The last are more than one message of the textbook's SMP holds."""
CONVOLUTION_SIDES = (7, 14, 28)
RELU_VALUES = (98, 1568)
POOL_SIDES = (7, 14)
TRANSFERS = (128, 1024, 1 << 17)


@dataclass(frozen=True, slots=True)
class StepRuns:
    """A step at one size. values: products, values or transfers."""

    name: str
    values: int
    runs: Sequence[Run]

    def on(self, link: Link) -> float:
        """Median seconds from both sides' inputs to the result where the clouds are that far apart."""
        traffic = self.runs[0].traffic
        seconds: float = spread([run.seconds for run in self.runs])["median"]
        return seconds + link.seconds(traffic.messages, traffic.bytes)

    def as_dict(self, link: Link) -> dict[str, Any]:
        """JSON-ready; bytes and round trips are the same in every run."""
        first = self.runs[0]
        return {
            "name": self.name,
            "values": self.values,
            "ahead": spread([run.ahead for run in self.runs]),
            "s1": spread([run.s1 for run in self.runs]),
            "s2": spread([run.s2 for run in self.runs]),
            "seconds": spread([run.seconds for run in self.runs]),
            "ahead_bytes": first.traffic_ahead.bytes,
            "ahead_round_trips": first.traffic_ahead.round_trips,
            "bytes": first.traffic.bytes,
            "round_trips": first.traffic.round_trips,
            "link_seconds": self.on(link),
        }


def all_steps(key: SecretKey, params: Params, repeats: int, quick: bool = False) -> Iterator[StepRuns]:
    """The steps that many come for, each `repeats` times after once that does not count."""

    def measured(name: str, values: int, run: Callable[[], Run]) -> StepRuns:
        return StepRuns(name, values, [run() for _ in range(1 + repeats)][1:])

    textbook = TextbookSmp(key, params)
    for products in TEXTBOOK_PRODUCTS[-1:] if quick else TEXTBOOK_PRODUCTS:
        yield measured("SMP, textbook", products, lambda: textbook.run(products))  # noqa: B023
    for side in (3,) if quick else CONVOLUTION_SIDES:
        packed = PackedSmp(key, params, 2 if quick else CHANNELS, side)
        yield measured("SMP, packed", packed.products, packed.run)
    for values in RELU_VALUES[:1] if quick else RELU_VALUES:
        relu = relu_layer(ACCUMULATOR_BITS, values)
        yield measured("ReLU layer", values, lambda: garbled(relu))  # noqa: B023
    for side in POOL_SIDES[:1] if quick else POOL_SIDES:
        pool = pool_layer(8, CHANNELS, side)
        yield measured("pool layer, 3x3", CHANNELS * side**2, lambda: garbled(pool))  # noqa: B023
    for bits in TRANSFERS[:1] if quick else TRANSFERS:
        yield measured("OT", bits, lambda: transfers(bits))  # noqa: B023


def pool_layer(bits: int, channels: int, side: int) -> GarbledStep:
    """3x3 windows of stride 1 over `channels` pictures that S2 has masked."""

    def program(g: Gates, a: Mapping[str, Wires], b: Mapping[str, Wires]) -> dict[str, Wires]:
        return {"y": g.xor(max_windows(g, b["x"], 3, 1, 1), a["r"])}

    shape = (bits, channels, side, side)
    return GarbledStep(program, {"r": shape}, {"x": shape})


def garbled(step: GarbledStep) -> Run:
    """A garbled step from S2's bits to S2's outputs, which are checked; circuit and transfers made ahead."""
    masks, inputs = _random(step.garbler), _random(step.evaluator)
    found: dict[str, Bools] = {}

    def s1(ask: Ask) -> Iterator[None]:
        sender, garbler = _sender(ask, step.choices), GarblerSide(step)
        yield
        corrections = _corrections(ask)
        ask(pb.Round(garbled_batch=garbler.send(sender, masks, corrections)))

    def s2(request: pb.Round) -> Script:
        receiver = yield from _receiver(request, step.choices)
        evaluator = EvaluatorSide(step, receiver)
        request = yield pb.Round(corrections=pb.Corrections(bits=evaluator.choose(inputs)))
        found.update(evaluator.evaluate(expect(request, "garbled_batch").garbled_batch))
        yield pb.Round(answered=pb.Answered())

    made = play(s1, s2)
    wanted = run_plain(step.program, masks, inputs)
    if not all(np.array_equal(found[name], wanted[name]) for name in wanted):
        raise TwinveilError("a garbled step gave a wrong output")
    return made


def transfers(bits: int) -> Run:
    """Oblivious transfers of labels for `bits` choice bits, from prepared ones; all strings are checked."""
    flat = np.frombuffer(secrets.token_bytes(2 * bits * LABEL_BYTES), np.uint8)
    pairs, chosen = flat.reshape(bits, 2, LABEL_BYTES), _random({"b": (bits,)})["b"]
    got = np.zeros((bits, LABEL_BYTES), np.uint8)

    def s1(ask: Ask) -> Iterator[None]:
        sender = _sender(ask, bits)
        yield
        masked = sender.send(pairs, _corrections(ask))
        ask(pb.Round(garbled_batch=pb.GarbledBatch(masked_labels=masked)))

    def s2(request: pb.Round) -> Script:
        receiver = yield from _receiver(request, bits)
        request = yield pb.Round(corrections=pb.Corrections(bits=receiver.correct(chosen)))
        got[:] = receiver.receive(expect(request, "garbled_batch").garbled_batch.masked_labels)
        yield pb.Round(answered=pb.Answered())

    made = play(s1, s2)
    if not np.array_equal(got, ideal.transfer(pairs, chosen)):
        raise TwinveilError("oblivious transfer gave a wrong string")
    return made


def _sender(ask: Ask, count: int) -> ExtensionSender:
    """S1's side of `count` transfers made ahead: base transfers, then the extension."""
    session, choices = secrets.token_bytes(SESSION_BYTES), random_choices()
    opened = expect(ask(pb.Round(open_query=pb.OpenQuery(session_id=session))), "query_opened").query_opened
    base = BaseReceiver(session, opened.base_ot, choices)
    prepared = expect(ask(pb.Round(prepare=pb.Prepare(base_ot=base.reply))), "prepared").prepared
    sender = ExtensionSender(base.keys, choices, session)
    sender.accept(prepared.extension, count)
    return sender


def _receiver(request: pb.Round, count: int) -> Generator[pb.Round, pb.Round, ExtensionReceiver]:
    """S2's side of `_sender`; the next request is S1's empty one."""
    session = expect(request, "open_query").open_query.session_id
    base = BaseSender(session)
    request = yield pb.Round(query_opened=pb.QueryOpened(base_ot=base.first()))
    receiver = ExtensionReceiver(base.keys(expect(request, "prepare").prepare.base_ot), session)
    yield pb.Round(prepared=pb.Prepared(extension=receiver.prepare(count)))
    return receiver


def _corrections(ask: Ask) -> bytes:
    """S2's choice bits. In a query they answer the masked sums; by itself the request is empty."""
    bits: bytes = expect(ask(pb.Round(masked_sums=pb.MaskedSums())), "corrections").corrections.bits
    return bits


def _random(shapes: Shapes) -> dict[str, Bools]:
    """Fresh uniform bits of these shapes."""
    return {
        name: to_bits(np.frombuffer(secrets.token_bytes(int(np.prod(shape))), np.uint8), 1).reshape(shape)
        for name, shape in shapes.items()
    }
