"""Changed envelopes at every depth; `twinveil sealing fuzz` does a hundred thousand."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from owner.sealing.fuzz import Fuzzer, run_fuzz
from owner.sealing.rig import Rig


@pytest.mark.parametrize("count", [600, pytest.param(6000, marks=pytest.mark.heavy)])
def test_no_changed_envelope_passes_or_crashes(count: int) -> None:
    found = run_fuzz(count, seed=count)
    assert (found["accepted"], found["crash_kinds"]) == (0, [])
    assert sum(found["reasons"].values()) == count
    assert {"malformed", "signature", "altered", "content", "commitment"} <= set(found["reasons"])
    assert set(found["kinds"]) == {"bytes", "signed", "content"}


def test_the_fuzzers_own_envelopes_pass_when_nothing_is_changed(tmp_path: Path) -> None:
    """Otherwise every refusal above would prove nothing."""
    rig = Rig.make(tmp_path)
    rig.enrol()
    fuzzer = Fuzzer(rig, random.Random(1), rig.device)
    for _ in range(5):
        assert rig.verifier.verify(fuzzer.sealed()).receipt is not None
    rig.store.close()
