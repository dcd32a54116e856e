"""What each cloud sees can be made without picture, weights and answer, and nobody can tell.

Real and simulated views of every kind of conversation pass the same tests, alone and together; with many
views, a trained distinguisher tells them apart no better than a coin. Where an engine makes a mistake,
both see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from tests.crypto.crypto_keys import secret_key
from tests.views import broken
from tests.views.simulator_packed import PackedSimulator
from tests.views.simulator_textbook import TextbookSimulator
from tests.views.small import PLAN, TINY, Picture, Watched, model, two_classes
from twinveil.network.plan import Plan
from twinveil.rehearsal.clouds import Clouds
from twinveil.views.audit import ViewsReport, audit

pytestmark = pytest.mark.slow

KEY_BITS = 256

Mistake = Callable[[], AbstractContextManager[None]]
Seen = tuple[Mistake, str]
"""A mistake, and the field of a view in which it shows."""


@dataclass(frozen=True)
class Case:
    """A kind of conversation; mistakes that show in it at S1 and at S2, and where."""

    kind: str
    engine: str
    label_only: bool
    at_s1: Seen
    at_s2: Seen

    def __str__(self) -> str:
        return f"{self.kind}, {self.engine}" + ", label only" * self.label_only


PICTURE = (broken.unpacked_products, "half image: values")
VALUES = (broken.zero_textbook_masks, "decrypted conv: values")
WEIGHTS = (broken.unpacked_products, "half weights conv: values")
SUMS = (broken.zero_sum_masks, "decrypted ahead: values")

CASES = [
    Case(
        "query",
        "packed",
        False,
        (broken.zero_u, "shared image - u: values"),
        (broken.zero_r, "shared image - r: values"),
    ),
    Case(
        "query",
        "packed",
        True,
        (broken.zero_rho, "shared image xor rho: values"),
        (broken.zero_r, "shared image - r: values"),
    ),
    Case("item", "packed", False, (broken.no_nonces, "item_inputs.ciphertexts: values"), SUMS),
    Case("query", "textbook", False, PICTURE, VALUES),
    Case("query", "textbook", True, PICTURE, VALUES),
    Case("import", "packed", False, WEIGHTS, (broken.zero_sum_masks, "decrypted weights conv: values")),
    Case("import", "textbook", False, WEIGHTS, (broken.zero_import_masks, "output weights")),
]

CONTAINED = (CASES[3],)
"""Whatever it says is said in another case, too: a label costs a textbook query some messages more."""

SOME = [pytest.param(case, marks=pytest.mark.heavy if case in CONTAINED else ()) for case in CASES]


def simulator(case: Case, plan: Plan) -> PackedSimulator | TextbookSimulator:
    of_engine = PackedSimulator if case.engine == "packed" else TextbookSimulator
    return of_engine(plan, KEY_BITS, case.label_only)


def queries(case: Case, plan: Plan, pictures: Sequence[Picture]) -> tuple[Watched, Watched]:
    """Real and simulated ones, by turns, and their items."""
    real, made = Watched(), Watched()
    clouds = Clouds(model(plan), secret_key(KEY_BITS), (case.engine,), observer=real.observer)
    nothing = simulator(case, plan)
    if isinstance(nothing, PackedSimulator):
        nothing.open_items(made.observer("cloud_s1"), made.observer("cloud_s2"))
    for picture in pictures:
        clouds.classify(picture[None], case.engine, case.label_only)
        if isinstance(nothing, PackedSimulator):
            nothing.make_item()
        nothing.query_at_s1(made.observer("cloud_s1"))
        nothing.query_at_s2(made.observer("cloud_s2"))
    return real, made


def imports(case: Case, plan: Plan, count: int, fill: int | None) -> tuple[Watched, Watched]:
    real, made = Watched(), Watched()
    nothing = simulator(case, plan)
    for number in range(count):
        Clouds(model(plan, number, fill), secret_key(KEY_BITS), (case.engine,), observer=real.observer)
        nothing.import_at_s1(made.observer("cloud_s1"))
        nothing.import_at_s2(made.observer("cloud_s2"))
    return real, made


def views(case: Case, plan: Plan, count: int, black: bool) -> tuple[Watched, Watched]:
    """black: pictures and packed weights are all 0."""
    if case.kind == "import":
        return imports(case, plan, count, -128 if black else None)
    extra = case.kind == "item"  # the first one is of a kind of its own
    seen = two_classes(count // 2 + extra, plan)[: count + extra]
    return queries(case, plan, [np.zeros_like(picture) for picture in seen] if black else seen)


def reports(case: Case, plan: Plan, count: int, black: bool = False) -> dict[str, ViewsReport]:
    """By cloud: real and simulated views judged as views of one kind that are of two classes."""
    found, (real, made) = {}, views(case, plan, count, black)
    for cloud in made.views:
        kept, simulated = (watched.kind(cloud, case.kind) for watched in (real, made))
        alone = audit(simulated)
        assert alone.clean, alone.alarms
        assert len(kept) == len(simulated) == count
        classes = {id(view): "real" for view in kept} | {id(view): "simulated" for view in simulated}
        found[cloud] = audit([*kept, *simulated], classes)
        assert [guess.guesses for guess in found[cloud].guesses] == [count]
    return found


@contextmanager
def mistakes(case: Case) -> Iterator[None]:
    with case.at_s1[0](), case.at_s2[0]():
        yield


@pytest.mark.parametrize("case", SOME, ids=str)
def test_simulated_views_pass_for_real_ones(case: Case) -> None:
    for report in reports(case, TINY, 8).values():
        assert report.clean, report.alarms
        assert [(kind.what, kind.views) for kind in report.kinds] == [(str(case), 16)]


def test_whole_conversations_of_items_look_alike() -> None:
    """Their opening and their first item, too."""
    real, made = queries(CASES[0], TINY, two_classes(1))
    for cloud in made.views:
        own = [view for view in made.views[cloud] if view.part != "import"]
        report = audit([*(view for view in real.views[cloud] if view.part != "import"), *own])
        assert report.clean, report.alarms
        assert {(kind.what, kind.views) for kind in report.kinds} == {
            ("opening of items, packed", 2),
            ("first item, packed", 2),
            ("item, packed", 2),
            ("query, packed", 4),
        }


@pytest.mark.parametrize("case", SOME, ids=str)
def test_a_mistake_tells_real_views_from_simulated_ones(case: Case) -> None:
    with mistakes(case):
        found = reports(case, TINY, 8, black=True)
    for cloud, (_, where) in (("cloud_s1", case.at_s1), ("cloud_s2", case.at_s2)):
        alarms = found[cloud].alarms
        assert any(alarm.startswith(f"{cloud}, {where}") for alarm in alarms), alarms


@pytest.mark.heavy
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_distinguisher_cannot_tell_simulated_views(case: Case) -> None:
    """Enough views for it to learn, if there were anything."""
    plan, count = (PLAN, 60) if case is CASES[0] else (TINY, 24)
    for report in reports(case, plan, count).values():
        assert report.clean, report.alarms
        assert report.guesses[0].p > 1e-6


@pytest.mark.heavy
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_distinguisher_sees_a_mistake(case: Case) -> None:
    with mistakes(case):
        for report in reports(case, TINY, 24, black=True).values():
            assert report.guesses[0].p < 1e-6
