"""What both clouds derive of a model from its plan, for each of its engines, before any value arrives."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar, get_args

from gmpy2 import mpz

from twinveil.errors import BadInput, BadPlan
from twinveil.network.plan import Plan
from twinveil.params import PACKED_SIGMA, Engine, Params
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.rounds.observer import Topic

Part = TypeVar("Part")

ENGINES: tuple[Engine, ...] = get_args(Engine)


@dataclass(frozen=True)
class Layouts:
    """Where a model's values sit. engines: in the order of ENGINES, each once.

    Raises BadPlan for another list of engines; `packed` and `textbook` for a network that no cloud imports.
    """

    plan: Plan
    params: Params
    engines: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.engines or self.engines != tuple(each for each in ENGINES if each in self.engines):
            raise BadPlan(f"a model is imported for some of the engines {', '.join(ENGINES)}, in this order")

    @cached_property
    def packed(self) -> ModelLayout:
        return ModelLayout(self.plan, self.params.key_bits)

    @cached_property
    def textbook(self) -> ImportLayout:
        return ImportLayout(self.plan, self.params)

    def topic(self, n: mpz) -> Topic:
        """What an import under this key is about: all its engines, and the least slack of their masks."""
        slack = [self.params.sigma if engine == "textbook" else PACKED_SIGMA for engine in self.engines]
        return Topic("import", self.plan, "+".join(self.engines), 0, n, min(slack))

    @property
    def digest(self) -> bytes:
        """SHA-256 over the engines and the layout of each."""
        return _digest(self.plan, self.params, self.engines)


def present(part: Part | None, engine: str) -> Part:
    """What a cloud keeps of a model for an engine. Raises BadInput if it was not outsourced for it."""
    if part is None:
        raise BadInput(f"this model was not outsourced for the engine {engine}")
    return part


@lru_cache(64)
def _digest(plan: Plan, params: Params, engines: tuple[str, ...]) -> bytes:
    # Layouts of its own: what the cache holds keeps no layout's slots in memory.
    layouts, digest = Layouts(plan, params, engines), hashlib.sha256()
    for engine in engines:
        digest.update(engine.encode() + (layouts.packed if engine == "packed" else layouts.textbook).digest)
    return digest.digest()
