"""What garbling and oblivious transfer cost on this machine: `python -m together.bench.garbling_speed`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import numpy as np

from together.bench.networks import default_plan
from twinveil.estimate.machine import least_seconds
from twinveil.garbling import gadgets, ideal
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.circuit import Program, Shapes, count
from twinveil.garbling.evaluator import evaluate
from twinveil.garbling.garbler import garble
from twinveil.garbling.gates import Gates, Wires
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.garbling.primitives import describe
from twinveil.garbling.windows import pooled
from twinveil.network.schedule import schedule
from twinveil.protocol.packed.stages import stage_parts
from twinveil.start.freed_memory import keep_freed_memory

REPEATS = 15

Inputs = Mapping[str, Wires]


def activation(g: Gates, a: Inputs, b: Inputs) -> dict[str, Wires]:
    value = gadgets.subtract(g, b["z"], a["s"])
    return {"y": gadgets.add_mask(g, gadgets.relu_requantise(g, value, 7, 8), a["r"])}


def pool(g: Gates, a: Inputs, b: Inputs) -> dict[str, Wires]:
    return {"y": pooled(b["x"], 3, 1, 1, lambda left, right: gadgets.maximum(g, left, right))}


def difference(g: Gates, a: Inputs, b: Inputs) -> dict[str, Wires]:
    return {"y": gadgets.subtract(g, b["z"], a["s"])}


def wide_difference(g: Gates, a: Inputs, b: Inputs) -> dict[str, Wires]:
    return {"y": gadgets.subtract_wide(g, b["z"], a["s"])}


def relu_layer(size: int) -> tuple[Program, Shapes, Shapes]:
    return activation, {"s": (22, size), "r": (22, size)}, {"z": (22, size)}


CIRCUITS: dict[str, tuple[Program, Shapes, Shapes]] = {
    "ReLU layer, 1568": relu_layer(1568),
    "ReLU layer, 784": relu_layer(784),
    "ReLU layer, 7056": relu_layer(7056),
    "pool 3x3, 48x7x7": (pool, {}, {"x": (8, 48, 7, 7)}),
    "2000 bits x 4": (difference, {"s": (2000, 4)}, {"z": (2000, 4)}),
    "2000 bits x 4, wide": (wide_difference, {"s": (2000, 4)}, {"z": (2000, 4)}),
    "2000 bits x 80, wide": (wide_difference, {"s": (2000, 80)}, {"z": (2000, 80)}),
}


def bench_circuit(program: Program, garbler: Shapes, evaluator: Shapes) -> tuple[int, float, float]:
    """AND gates; nanoseconds an AND to garble, and to evaluate."""
    counts = count(program, garbler, evaluator)
    made = garble(program, garbler, evaluator, counts)
    own = made.garbler_labels({name: np.zeros(shape, np.bool_) for name, shape in garbler.items()})
    labels = np.ascontiguousarray(made.evaluator_pairs()[:, 0])
    tables, decode = made.tables, made.decode
    garbled = least_seconds(lambda: garble(program, garbler, evaluator, counts), REPEATS)
    evaluated = least_seconds(
        lambda: evaluate(program, garbler, evaluator, tables, own, labels, decode, counts), REPEATS
    )
    return counts.and_gates, garbled * 1e9 / counts.and_gates, evaluated * 1e9 / counts.and_gates


def transferred(size: int) -> tuple[ExtensionReceiver, ExtensionSender]:
    """Both sides of `size` transfers whose matrix has been sent."""
    s, base_sender = random_choices(), BaseSender(b"bench")
    base_receiver = BaseReceiver(b"bench", base_sender.first(), s)
    receiver = ExtensionReceiver(base_sender.keys(base_receiver.reply), b"bench")
    sender = ExtensionSender(base_receiver.keys, s, b"bench")
    sender.accept(receiver.prepare(size), size)
    return receiver, sender


def bench_ahead(repeats: int = 15) -> dict[str, float]:
    """Least seconds of each step of the default ICNN's circuits: garbled, held, answered and opened."""
    described = [part.circuit for part in stage_parts(schedule(default_plan()))]
    steps, least = ("garble", "hold", "answer", "open"), dict[str, float]()
    for _ in range(repeats):
        receiver, sender = transferred(sum(each.transfers for each in described))
        clock = [time.perf_counter()]
        made = [each.garble(sender) for each in described]
        clock.append(time.perf_counter())
        held = [each.hold(half.offer(), receiver) for each, half in zip(described, made, strict=True)]
        clock.append(time.perf_counter())
        answers = [half.answer(other.drawn) for half, other in zip(made, held, strict=True)]
        clock.append(time.perf_counter())
        for half, answer in zip(held, answers, strict=True):
            half.open(answer)
        clock.append(time.perf_counter())
        for name, seconds in zip(steps, np.diff(clock).tolist(), strict=True):
            least[name] = min(least.get(name, seconds), seconds)
    return least


def bench_transfers(size: int) -> dict[str, float]:
    """Seconds of each step for `size` OTs, both sides."""
    seconds = {}
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[name], clock = now - clock, time.perf_counter()

    s, base_sender = random_choices(), BaseSender(b"bench")
    base_receiver = BaseReceiver(b"bench", base_sender.first(), s)
    receiver = ExtensionReceiver(base_sender.keys(base_receiver.reply), b"bench")
    sender = ExtensionSender(base_receiver.keys, s, b"bench")
    lap("base")
    u = receiver.prepare(size)
    lap("prepare")
    sender.accept(u, size)
    lap("accept")
    choice_bits = np.frombuffer(os.urandom(size), np.uint8) < 128
    pairs = np.frombuffer(os.urandom(32 * size), np.uint8).reshape(size, 2, 16)
    lap("inputs")
    corrections = receiver.correct(choice_bits)
    lap("correct")
    masked = sender.send(pairs, corrections)
    lap("send")
    got = receiver.receive(masked)
    lap("receive")
    if not np.array_equal(got, ideal.transfer(pairs, choice_bits)):
        raise RuntimeError("oblivious transfer gave a wrong string")
    del seconds["inputs"]
    return seconds


def main() -> None:
    keep_freed_memory()  # as the clouds do
    print(f"garbling: {describe()}\n")
    print(f"{'circuit':24}{'ANDs':>10}{'garble ns':>12}{'evaluate ns':>13}{'both ms':>10}")
    for name, circuit in CIRCUITS.items():
        gates, garbled, evaluated = bench_circuit(*circuit)
        both = gates * (garbled + evaluated) / 1e6
        print(f"{name:24}{gates:>10}{garbled:>12.1f}{evaluated:>13.1f}{both:>10.1f}")
    print("\ncircuits of the default ICNN, made ahead:")
    for name, value in bench_ahead().items():
        print(f"  {name:10}{value * 1e3:>9.1f} ms")
    size = 768_000
    seconds = bench_transfers(size)
    print(f"\n{size} oblivious transfers: {sum(seconds.values()):.2f} s")
    for name, value in seconds.items():
        print(f"  {name:10}{value * 1e3:>9.1f} ms")


if __name__ == "__main__":
    main()
