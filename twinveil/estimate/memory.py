"""Memory of both clouds for one model: what stays, and what an item and a query add; from the plan alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from twinveil.crypto.native.tables import base_entries
from twinveil.crypto.nonces import WINDOW, Reach, exponent_bits
from twinveil.crypto.shared import NUMBER_BYTES
from twinveil.network.plan import Plan
from twinveil.params import Params
from twinveil.protocol.model.layout import Layouts
from twinveil.protocol.packed.layout import MORE_TOWARDS_S1
from twinveil.protocol.size import import_size, item_size, query_size, textbook_size
from twinveil.protocol.textbook.steps import TextbookLayout

PROCESS_BYTES = 130 << 20
"""Of a cloud's process: Python, numpy, gRPC, arrays between two steps."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes at one cloud, about. nonces: the table of them; tables: S1's on E(K2), each as often as processes
    compute. model: one, loaded. item: each that lies ready; making: one in the making. query: one.
    """

    process: int
    nonces: int
    tables: int
    model: int
    item: int
    making: int
    query: int

    @property
    def peak(self) -> int:
        """With one of each."""
        return sum(asdict(self).values())


def memory(
    plan: Plan, params: Params, engine: str, pictures: int = 1, processes: int = 1
) -> dict[str, Memory]:
    """By role. processes: that compute with tables of their own; 1 where arithmetic is native."""
    imported, bits = import_size(plan, params, engine), params.key_bits
    if engine == "textbook":
        query, items, more = textbook_size(TextbookLayout(plan, params, limit=None)), None, 0
    else:
        query, items = query_size(plan, params, engine, pictures), item_size(plan, params)
        more = Layouts(plan, params, ("packed",)).packed.item.more_towards_s2
    making = items.working if items else 0
    return {
        "cloud_s1": Memory(
            PROCESS_BYTES,
            processes * _nonce_table(bits, "full", more),
            processes * imported.tables,
            imported.memory_s1,
            items.memory_s1 if items else 0,
            making,
            query.memory,
        ),
        "cloud_s2": Memory(
            PROCESS_BYTES,
            processes * _nonce_table(bits, "short", MORE_TOWARDS_S1 if items else 0),
            0,
            imported.memory_s2,
            items.memory_s2 if items else 0,
            making,
            query.memory_s2,
        ),
    }


def _nonce_table(key_bits: int, reach: Reach, more: int) -> int:
    entries = base_entries(exponent_bits(key_bits, reach, more), WINDOW[reach])
    return 2 * entries * (key_bits // 8 + NUMBER_BYTES)
