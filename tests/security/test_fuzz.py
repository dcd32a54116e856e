"""A bounded run of every fuzzing target, and what each finds when a parser is wrong."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.security.fuzz import Target, run
from tests.security.fuzz_targets import targets
from twinveil.errors import TwinveilError

COUNT = 80
NAMES = (
    *("classify-s1", "classify-s2", "outsource-s1", "outsource-s2", "openings", "chunks", "rounds"),
    *("garbled-circuits", "base-transfers", "ciphertexts", "plans", "cards", "records", "public-keys"),
    *("secret-keys", "served-keys", "answers", "certificates", "pictures", "model-files", "store"),
    *("settings", "queries", "imports"),
)
CONVERSATIONS = ("queries", "imports")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return targets(tmp_path_factory.mktemp("fuzz"))


def test_every_target_is_run(found: dict[str, Target]) -> None:
    assert tuple(found) == NAMES


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_bounded_run(found: dict[str, Target], name: str) -> None:
    count = COUNT // 10 if name in CONVERSATIONS else COUNT
    report = run(found[name], count, seed=random.SystemRandom().randrange(1 << 40))
    assert not report.crashes
    assert report.good, report.line()


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_longer_run(found: dict[str, Target], name: str) -> None:
    report = run(found[name], 150 if name in CONVERSATIONS else 1500, seed=7)
    assert report.good, report.line()


@pytest.mark.parametrize("name", ["plans", "records", "served-keys", "settings", "chunks"])
def test_hypothesis_drives_the_parsers(found: dict[str, Target], name: str) -> None:
    """The same inputs, chosen and shrunk by hypothesis."""

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def drive(source: random.Random) -> None:
        with suppress(TwinveilError):
            found[name](source)

    drive()


def test_a_crash_is_reported() -> None:
    def wrong(source: random.Random) -> None:
        if source.random() < 0.1:
            raise KeyError("nodes")

    report = run(wrong, 100, seed=1)
    assert list(report.crashes)
    assert not report.good
    assert report.ends["CRASH"] > 1
