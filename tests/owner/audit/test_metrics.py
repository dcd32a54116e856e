"""Measures of likeness, against an independent computation and against what they must say of simple cases."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import gaussian_filter

from owner.audit.metrics import cosine, nearest_neighbour, ssim
from owner.training.psnr import MAX_PSNR, psnr


def reference_ssim(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> float:
    """As scikit-image computes it with gaussian_weights, sigma 1.5, population moments and data range 1."""

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return gaussian_filter(values, 1.5, truncate=3.5)

    c1, c2 = 0.01**2, 0.03**2
    mu_l, mu_r = mean(left), mean(right)
    var_l, var_r = mean(left * left) - mu_l**2, mean(right * right) - mu_r**2
    both = mean(left * right) - mu_l * mu_r
    full = ((2 * mu_l * mu_r + c1) * (2 * both + c2)) / ((mu_l**2 + mu_r**2 + c1) * (var_l + var_r + c2))
    return float(full[5:-5, 5:-5].mean())


@pytest.mark.parametrize("noise", [0.02, 0.2, 0.6])
def test_ssim_is_the_reference(noise: float) -> None:
    source = np.random.default_rng(1)
    left = gaussian_filter(source.random((3, 28, 24)), (0, 1, 1))
    right = np.clip(left + noise * (source.random(left.shape) - 0.5), 0, 1)
    got = ssim(*(torch.from_numpy(each[:, None]).float() for each in (left, right)))
    assert got.tolist() == pytest.approx(
        [reference_ssim(a, b) for a, b in zip(left, right, strict=True)], abs=1e-4
    )


def test_ssim_of_equal_opposite_and_tiny_pictures() -> None:
    pictures = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert ssim(pictures, pictures).tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    assert (ssim(pictures, 1 - pictures) < 0.2).all()


def test_psnr() -> None:
    zero = torch.zeros(1, 1, 4, 4)
    assert psnr(zero, zero + 0.1).item() == pytest.approx(20.0, abs=1e-4)
    assert psnr(zero, zero).item() == MAX_PSNR


def test_cosine_sees_neither_brightness_nor_contrast() -> None:
    picture = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    assert cosine(picture, 0.5 * picture + 0.2).item() == pytest.approx(1, abs=1e-5)
    assert cosine(picture, -picture).item() == pytest.approx(-1, abs=1e-5)
    assert cosine(picture, torch.full_like(picture, 0.3)).item() == pytest.approx(0, abs=1e-3)


def test_the_nearest_neighbour_finds_the_person_not_the_shot() -> None:
    """Two people, two shots each; the second person's two shots have nothing in common."""
    a, b, c = torch.eye(16).reshape(16, 1, 4, 4)[:3]
    originals = torch.stack([a, a + 0.1 * b, b, c])
    people = torch.tensor([0, 0, 1, 1])
    found = nearest_neighbour(originals, originals, people)
    assert found.tolist() == [True, True, False, False]


def test_a_single_shot_of_a_person_may_be_found_itself() -> None:
    originals = torch.eye(16).reshape(16, 1, 4, 4)[:3]
    assert nearest_neighbour(originals, originals, torch.arange(3)).all()
