"""Integer stand-ins for real functions: close to them, exact where exactness is claimed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from twinveil.errors import BadPlan
from twinveil.sealing import spectrum
from twinveil.sealing.integers import COSINE_ONE, ONE, cosines, look_up, root, rounded_shift
from twinveil.sealing.randomness import normals, stream

SOURCE = np.random.default_rng(7)


def test_roots_are_exact() -> None:
    values = np.concatenate(
        [np.arange(1000), SOURCE.integers(0, 1 << 62, 2000), [(1 << 62) - 1], np.arange(1, 2000) ** 2]
    )
    assert root(values).tolist() == [math.isqrt(value) for value in values.tolist()]


def test_shifts_round_halves_upwards() -> None:
    values = np.array([-3, -2, -1, 0, 1, 2, 3], dtype=np.int64)
    assert rounded_shift(values, 1).tolist() == [-1, -1, 0, 0, 1, 1, 2]
    assert rounded_shift(values, 0).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("name", "function"),
    [("tanh", np.tanh), ("sigmoid", lambda x: 1 / (1 + np.exp(-x))), ("exp_half", lambda x: np.exp(x / 2))],
)
def test_tables_follow_their_functions(name, function) -> None:
    values = np.arange(-8 * ONE, 8 * ONE)
    wanted = function(values / ONE)
    found = look_up(name, values) / ONE
    assert np.abs(found - wanted).max() <= max(0.006, 0.003 * wanted.max())
    edges = look_up(name, np.array([-(1 << 17), 1 << 17]))
    assert edges.tolist() == look_up(name, np.array([-8 * ONE, 8 * ONE - 1])).tolist()


def test_cosines_follow_geometry() -> None:
    a, b = SOURCE.integers(-128, 129, (2, 500, 9))
    found = cosines((a * b).sum(1), (a * a).sum(1), (b * b).sum(1)) / (1 << 15)
    wanted = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    assert np.abs(found - wanted).max() < 1e-4
    zero, one = np.array([0]), np.array([5])
    assert cosines(zero, zero, one).tolist() == [0]
    assert cosines(one, one, one).tolist() == [COSINE_ONE]


def test_normals_are_normal_and_repeat() -> None:
    drawn = normals(b"seed", "test", (100, 100)) / ONE
    assert abs(drawn.mean()) < 0.05
    assert abs(drawn.std() - 1) < 0.02
    assert (normals(b"seed", "test", (3,)) == normals(b"seed", "test", (3,))).all()
    assert (normals(b"seed", "other", (9,)) != normals(b"seed", "test", (9,))).any()
    assert stream(b"", "a", 5) == stream(b"", "a", 9)[:5]


@pytest.mark.parametrize("order", [2, 16, 32])
def test_singular_values_are_those_of_lapack(order: int) -> None:
    matrix = SOURCE.integers(-COSINE_ONE, COSINE_ONE + 1, (order, order))
    found = spectrum.singular_values(matrix) / (1 << 10)
    assert np.abs(found - np.linalg.svd(matrix / (1 << 15), compute_uv=False)).max() < 0.04


def test_singular_values_of_a_constant_are_one_alone() -> None:
    found = spectrum.singular_values(np.full((32, 32), COSINE_ONE, dtype=np.int64))
    assert found[0] == pytest.approx(32 * 1024, rel=2e-3)
    assert found[1:].max() < 8


def test_ranks_are_exact() -> None:
    left, right = SOURCE.integers(-100, 101, (16, 5)), SOURCE.integers(-100, 101, (5, 16))
    assert spectrum.rank(left @ right) == 5
    assert spectrum.rank(np.eye(7, dtype=np.int64)) == 7
    assert spectrum.rank(np.zeros((4, 4), dtype=np.int64)) == 0
    assert spectrum.rank(np.array([[0, 0, 3], [0, 2, 1]])) == 2


def test_norms_are_floors() -> None:
    assert spectrum.norm(np.array([[3, 0], [0, 4]])) == 5
    assert spectrum.norm(np.array([[1, 1], [1, 0]])) == 1


@pytest.mark.parametrize("shape", [(3, 3), (34, 34), (4, 6)])
def test_other_shapes_have_no_singular_values_here(shape: tuple[int, int]) -> None:
    with pytest.raises(BadPlan, match="even order"):
        spectrum.singular_values(np.zeros(shape, dtype=np.int64))
