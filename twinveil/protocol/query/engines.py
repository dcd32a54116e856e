"""The engines by name: what a query with one of them is, the same at both clouds and in an estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twinveil.errors import BadInput, TooMuch
from twinveil.halves.blinding import Segment, picture_segment
from twinveil.network.plan import Plan
from twinveil.params import MAX_PICTURES, Params
from twinveil.protocol.garbled import GarbledStep
from twinveil.protocol.model.layout import ENGINES
from twinveil.protocol.packed.layout import PackedLayout
from twinveil.protocol.packed.steps import steps as packed_steps
from twinveil.protocol.textbook.steps import MAX_PRODUCTS, TextbookLayout


@dataclass(frozen=True)
class QueryPlan:
    """What is known of a query before its picture comes, all of it public. steps: its circuits, in order."""

    plan: Plan
    params: Params
    engine: str
    pictures: int
    layout: PackedLayout | TextbookLayout
    steps: Sequence[GarbledStep]

    @property
    def picture(self) -> Segment:
        """How the user packs the pictures."""
        return picture_segment(
            self.plan, self.pictures, key_bits=self.params.key_bits, sigma=self.params.sigma
        )


def query_plan(
    plan: Plan, params: Params, engine: str, pictures: int = 1, *, limit: int | None = MAX_PRODUCTS
) -> QueryPlan:
    """limit: of the textbook engine's products; None where a query is only looked at, as in estimates.

    Raises BadInput for an engine that does not exist, BadPlan for a plan that it or the key cannot carry, and
    what check_pictures does.
    """
    if engine not in ENGINES:
        raise BadInput(f"there is no engine {engine!r}: use {' or '.join(ENGINES)}")
    check_pictures(engine, pictures)
    if engine == "packed":
        packed = PackedLayout(plan, params.key_bits, params.sigma, pictures)
        return QueryPlan(plan, params, engine, pictures, packed, packed_steps(packed))
    textbook = TextbookLayout(plan, params, limit)
    return QueryPlan(plan, params, engine, pictures, textbook, textbook.steps())


def check_pictures(engine: str, pictures: int) -> None:
    """Raises TooMuch or BadInput for a number of pictures that no query with this engine has."""
    if not 1 <= pictures <= MAX_PICTURES:
        raise TooMuch(f"a query has 1 to {MAX_PICTURES} pictures, not {pictures}")
    if engine == "textbook" and pictures != 1:
        raise BadInput("the textbook engine classifies one picture at a time")
