"""Which level is used: what the environment asks for, what the processor has, what passes its self-test."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gmpy2 import mpz

from tests.crypto.native import BITS, LEVELS, at_level, moduli
from twinveil.crypto.native import level as levels
from twinveil.crypto.native.gmp import Gmp
from twinveil.crypto.native.lanes import LAYOUTS, Lanes
from twinveil.crypto.native.level import AVX2, GMPY2, IFMA, VARIABLE, available, describe, level
from twinveil.crypto.native.residues import Modulus
from twinveil.crypto.native.self_test import right
from twinveil.errors import BadConfiguration

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    level.cache_clear()
    yield
    level.cache_clear()


def ask(monkeypatch: pytest.MonkeyPatch, what: str | None) -> None:
    if what is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, what)


def fake(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], *, built: bool = True) -> None:
    """A processor with these levels."""
    monkeypatch.setattr(levels, "BUILT", built)
    monkeypatch.setattr(levels, "LAYOUTS", tuple(each for each in LAYOUTS if each.level in names))


@pytest.mark.parametrize("what", [None, "auto", "required"])
def test_the_fastest_is_used(monkeypatch: pytest.MonkeyPatch, what: str | None) -> None:
    if not available():
        pytest.skip("this machine has no native level")
    ask(monkeypatch, what)
    assert level() == available()[0] == describe()


@pytest.mark.parametrize("name", [IFMA, AVX2])
def test_a_level_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    at_level(1 << 64 | 1, name)
    ask(monkeypatch, name)
    assert level() == name
    assert isinstance(Modulus.squared((1 << 1024) - 105).many, Lanes)


def test_off(monkeypatch: pytest.MonkeyPatch) -> None:
    ask(monkeypatch, "off")
    assert level() == GMPY2
    assert describe() == f"gmpy2 ({VARIABLE} is off)"
    assert isinstance(Modulus.squared((1 << 1024) - 105).many, Gmp)


@pytest.mark.parametrize(("built", "why"), [(False, "install a C compiler"), (True, "processor has neither")])
def test_nothing_native(monkeypatch: pytest.MonkeyPatch, built: bool, why: str) -> None:
    fake(monkeypatch, (), built=built)
    ask(monkeypatch, None)
    assert level() == GMPY2
    assert why in describe()
    for what in ("required", IFMA):
        level.cache_clear()
        ask(monkeypatch, what)
        with pytest.raises(BadConfiguration, match=why):
            level()


def test_a_level_that_the_processor_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    if AVX2 not in available():
        pytest.skip("this machine has no AVX2")
    fake(monkeypatch, (AVX2,))
    ask(monkeypatch, IFMA)
    with pytest.raises(BadConfiguration, match=r"'ifma', but of avx2, which this processor has, none"):
        level()
    level.cache_clear()
    ask(monkeypatch, "required")
    assert level() == AVX2


@pytest.mark.parametrize("what", ["", "on", "IFMA", "avx512"])
def test_unknown_wishes_are_refused(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    ask(monkeypatch, what)
    with pytest.raises(BadConfiguration, match=r"must be auto, required, off, ifma or avx2"):
        level()


class Wrong(Gmp):
    """Arithmetic whose results are now and then wrong by one bit."""

    operation = "multiply"

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name != type(self).operation:
            return found

        def wrong(*arguments: Any) -> Any:
            result = found(*arguments)
            if isinstance(result, bool):
                return not result
            rows = result[0] if name == "power" else result["u"] if name == "table" else result
            rows.flat[len(rows) // 2] ^= 1 << 40
            return result

        return wrong


OPERATIONS = (
    *("load", "multiply", "square", "fold", "power", "add_plain", "coprime", "normal", "multiply_normal"),
    *("table", "gather", "buckets"),
)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_self_test_sees_every_operation(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    assert right(Gmp(mpz((1 << 128) - 159)))
    monkeypatch.setattr(Wrong, "operation", operation)
    assert not right(Wrong(mpz((1 << 128) - 159)))


def test_what_fails_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One line, and the next level; where something native is required, an error."""
    if not available():
        pytest.skip("this machine has no native level")
    monkeypatch.setattr(levels, "right", lambda arithmetic: isinstance(arithmetic, Gmp))
    ask(monkeypatch, None)
    with caplog.at_level(logging.WARNING):
        assert level() == GMPY2
        assert level() == GMPY2
    assert [each.getMessage() for each in caplog.records] == [
        f"native arithmetic ({name}) fails its self-test and is not used" for name in available()
    ]
    level.cache_clear()
    ask(monkeypatch, "required")
    with pytest.raises(BadConfiguration, match=r"none is right"):
        level()


@pytest.mark.parametrize("bits", [3, 63, 8000, 40000])
def test_lengths_without_limbs_are_gmpy2s(bits: int) -> None:
    """Keys of no use, and longer ones than anyone has: slower, and right."""
    for name in available():
        modulus = Modulus.squared((1 << bits) - 1, at=name)
        number = modulus.n**2 - 2
        assert (modulus.residues([number] * 5).squared()).to_ints() == [4] * 5


@pytest.mark.parametrize("name", LEVELS)
def test_every_length_has_its_limbs(name: str) -> None:
    for bits in (each for each in BITS if name != GMPY2):
        assert isinstance(at_level(moduli(bits)[0], name), Lanes)


def test_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is read by a process that has nothing else set."""
    program = "from twinveil.crypto.native.level import describe; print(describe())"
    environment = {**os.environ, VARIABLE: "off"}
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert shown.stdout.strip() == f"gmpy2 ({VARIABLE} is off)"
