"""What a number in text is, wherever one comes in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.networks import random_model
from tests.system.town import stored
from twinveil.errors import BadInput, TwinveilError
from twinveil.network.card import ModelCard
from twinveil.network.plan import Plan
from twinveil.values import decimal, hexadecimal, integer, read_json, real, whole

FOREIGN = ("", " 7", "7 ", "7\n", "+7", "1_000", "٣", "²", "1e3", "0x7", "7.", ".7", "nan", "inf", "9" * 19)


@pytest.mark.parametrize("text", [*FOREIGN, "7.0"])
def test_no_whole_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="no whole number"):
        whole(text)


@pytest.mark.parametrize("text", [*FOREIGN, "1.2.3", "1,5"])
def test_no_decimals(text: str) -> None:
    with pytest.raises(ValueError, match="no number"):
        decimal(text)


@pytest.mark.parametrize("text", ["", "F", "0xf", "f_f", " f", "f" * 4097])
def test_no_hexadecimals(text: str) -> None:
    with pytest.raises(ValueError, match="no hexadecimal"):
        hexadecimal(text)


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_whole_numbers_come_back(number: int) -> None:
    assert whole(str(number)) == number == read_json(str(number))
    assert hexadecimal(f"{abs(number):x}") == abs(number)


@given(st.decimals(-(10**6), 10**6, places=6))
def test_decimals_come_back(number: Any) -> None:
    assert decimal(f"{number:f}") == float(number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_of_json_come_back(number: float) -> None:
    assert read_json(json.dumps([number])) == [number]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 19, "[1, [NaN]]"])
def test_json_has_no_such_numbers(text: str) -> None:
    json.loads(text)
    with pytest.raises(ValueError, match="number"):
        read_json(text)


def test_numbers_of_a_parsed_file_are_numbers() -> None:
    assert (integer(7), real(7), real(0.5)) == (7, 7.0, 0.5)
    for read in (integer, real):
        for value in ("7", None, True, [7]):
            with pytest.raises(TypeError):
                read(value)
    with pytest.raises(TypeError):
        integer(7.0)
    with pytest.raises(ValueError, match="finite"):
        real(float("nan"))


MODEL = random_model(1)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (Plan.from_json, MODEL.plan.to_json()),
        (ModelCard.from_json, replace(stored(MODEL).card, training_pictures=987_654).to_json()),
    ],
)
@pytest.mark.parametrize("number", ["NaN", "1e999", "9" * 5000, "987654.5", '"987654"'])
def test_files_hold_numbers_of_this_form(read: Callable[[str], object], text: str, number: str) -> None:
    """A side of 28.5, or "28", was one of 28."""
    shape = MODEL.plan.image_shape
    broken = text.replace("987654", number).replace(
        f'"image_shape":{json.dumps(shape, separators=(",", ":"))}',
        f'"image_shape":[{shape[0]},{shape[1]},{number.replace("987654", str(shape[2]))}]',
    )
    read(text)
    assert broken != text
    with pytest.raises(TwinveilError) as refused:
        read(broken)
    assert isinstance(refused.value, BadInput)
    assert len(str(refused.value)) < 200
