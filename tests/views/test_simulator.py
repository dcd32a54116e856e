"""What each cloud sees can be made without picture, weights and answer, and nobody can tell."""

from __future__ import annotations

import pytest

from tests.protocol.clouds import Clouds
from tests.views.simulator import Simulator
from tests.views.small import PLAN, TINY, Watched, model, two_classes
from twinveil.plan import Plan
from twinveil.views.audit import audit
from twinveil.views.view import View

KEY_BITS = 256


def real_and_simulated(plan: Plan, count: int) -> tuple[dict[str, list[View]], dict[str, list[View]]]:
    """Views of queries, by cloud; real and simulated ones take turns."""
    real, made = Watched(), Watched()
    clouds = Clouds(model(plan), KEY_BITS, observers=real.observer)
    simulator = Simulator(plan, KEY_BITS)
    for picture in two_classes(count // 2, plan):
        clouds.classify(picture[None])
        simulator.view_of_s1(clouds.s1, made.observer("cloud_s1"))
        simulator.view_of_s2(clouds.s2, made.observer("cloud_s2"))
    return {cloud: real.queries(cloud) for cloud in real.views}, made.views


def compare(plan: Plan, count: int) -> None:
    real, made = real_and_simulated(plan, count)
    for cloud in real:
        assert len(real[cloud]) == len(made[cloud]) == count
        classes = {id(view): "real" for view in real[cloud]} | {id(view): "simulated" for view in made[cloud]}
        alone = audit(made[cloud])
        assert alone.clean, alone.alarms
        together = audit([*real[cloud], *made[cloud]], classes)
        assert together.clean, together.alarms
        (kind,) = together.kinds
        assert kind.views == 2 * count
        (guess,) = together.guesses
        assert guess.guesses == count
        assert guess.p > 1e-6


def test_simulated_views_pass_for_real_ones() -> None:
    compare(TINY, 12)


@pytest.mark.heavy
def test_many_simulated_views_pass_for_real_ones() -> None:
    compare(PLAN, 60)
