"""The places at which a role is killed are there: without that every kill test fails at its start, late."""

from __future__ import annotations

import functools
import importlib

import pytest

from tests.system.mortal import PLACES


@pytest.mark.parametrize("target", [each for places in PLACES.values() for each in places.values()])
def test_a_place_is_there(target: str) -> None:
    module, _, path = target.partition(":")
    assert callable(functools.reduce(getattr, path.split("."), importlib.import_module(module)))
