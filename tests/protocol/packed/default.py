"""The default ICNN's plan, as compiling makes it: widths and accumulators of 28 x 28 grey pictures."""

from __future__ import annotations

from twinveil.network.plan import IMAGE, Concat, Conv, Dense, MaxPool, Node, Plan, Relu


def default_plan() -> Plan:
    nodes: list[Node] = []

    def unit(name: str, source: str, out: int, size: int, ring: int, stride: int = 1) -> str:
        nodes.append(Conv(f"{name}_conv", source, out, (size, size), stride, size // 2, 8, ring))
        nodes.append(Relu(f"{name}_relu", f"{name}_conv", ring - 9, 8))
        return f"{name}_relu"

    def module(name: str, source: str, one: int, rings: tuple[int, int, int, int]) -> str:
        first = unit(f"{name}_one", source, one, 1, rings[0])
        reduced = unit(f"{name}_reduce", source, 8, 1, rings[1])
        three = unit(f"{name}_three", reduced, 16, 3, rings[2])
        five = unit(f"{name}_five", source, 8, 5, rings[3])
        nodes.append(MaxPool(f"{name}_pool", source, 3, 1, 1))
        nodes.append(Concat(f"{name}_concat", (first, three, five, f"{name}_pool")))
        return f"{name}_concat"

    stem = unit("stem7", IMAGE, 8, 7, 19, stride=2)
    nodes.append(MaxPool("stem_pool", stem, 3, 2, 1))
    stem = unit("stem3", unit("stem1", "stem_pool", 8, 1, 18), 16, 3, 20)
    top = module("b", module("a", stem, 8, (18, 18, 20, 21)), 16, (19, 19, 20, 22))
    nodes += [MaxPool("pool", top, 2, 2, 0), Dense("dense", "pool", 10, 8, 21)]
    return Plan((1, 28, 28), 8, tuple(nodes), 8)
