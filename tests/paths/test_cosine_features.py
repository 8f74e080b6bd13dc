"""Random cosine networks: the theory's numbers (section 9), and samples against them."""

from __future__ import annotations

from math import exp, pi
from typing import Any

import pytest
import torch

from qcore.paths import cosine_kurtosis, cosine_two_point, random_cosine_paths

# s = 1 in the theory: a factor of 2 L hbar / (pi m) less than here.
CASES = [
    (5.0, {0.0: 1.7057860430894, 0.3: 1.4508669521728, 1.2: 0.31604012118037}),
    (20.0, {0.0: 1.9945819721122, 0.3: 1.3271485347112, 1.2: 0.34234359518396}),
]


@pytest.mark.parametrize(("cutoff", "values"), CASES)
def test_two_point_functions_of_the_theory(cutoff: float, values: dict[float, float]) -> None:
    pytest.importorskip("scipy")
    for t, integral in values.items():
        found = cosine_two_point(t, omega=1.5, mass=1.3, hbar=0.7, cutoff=cutoff)
        assert found == pytest.approx(0.7 / (2 * pi * 1.3) * integral, rel=1e-12)
        assert cosine_two_point(-t, omega=1.5, mass=1.3, hbar=0.7, cutoff=cutoff) == found


def test_kurtosis_of_the_theory() -> None:
    assert cosine_kurtosis(3, omega=1.5, cutoff=5.0) == pytest.approx(1.37453371863, rel=1e-11)
    assert cosine_kurtosis(1, omega=1.5, cutoff=1000.0) == pytest.approx(953.75605, rel=1e-7)
    assert cosine_kurtosis(6) == 0.25


def test_without_a_cutoff_it_is_the_oscillators() -> None:
    assert cosine_two_point(0.4, omega=1.7, mass=1.3, hbar=0.7) == pytest.approx(
        0.7 / (2 * 1.3 * 1.7) * exp(-0.68)
    )


@pytest.mark.parametrize("cutoff", [None, 5.0])
@pytest.mark.parametrize("features", [1, 3])
def test_samples(cutoff: float | None, features: int) -> None:
    pytest.importorskip("scipy")
    constants: dict[str, Any] = {"omega": 1.5, "mass": 1.3, "hbar": 0.7, "cutoff": cutoff}
    samples, t = 200_000, torch.tensor([0.2, 0.5, 1.4], dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    x = random_cosine_paths(t, features=features, samples=samples, generator=generator, **constants)
    assert x.shape == (samples, 3)
    for i, j in ((0, 0), (0, 1), (0, 2)):
        products = x[:, i] * x[:, j]
        expected = cosine_two_point(float(t[j] - t[i]), **constants)
        assert abs(float(products.mean()) - expected) < 4 * float(products.std()) / samples**0.5
    variance = cosine_two_point(0.0, **constants)
    fourth = (x[:, 0] / variance**0.5).pow(4)
    expected = 3 + cosine_kurtosis(features, omega=1.5, cutoff=cutoff)
    assert abs(float(fourth.mean()) - expected) < 4 * float(fourth.std()) / samples**0.5


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"t": [0.1]}, TypeError, "t: expected a tensor"),
        ({"t": torch.zeros(2, 2)}, ValueError, r"t: expected shape \(Q,\)"),
        ({"features": 0}, ValueError, "features: expected at least 1"),
        ({"samples": -1}, ValueError, "samples"),
        ({"omega": 0.0}, ValueError, "omega"),
        ({"cutoff": -1.0}, ValueError, "cutoff"),
    ],
)
def test_refusals(change: dict[str, Any], error: type[Exception], message: str) -> None:
    good: dict[str, Any] = {"t": torch.zeros(2), "features": 1, "samples": 1}
    with pytest.raises(error, match=message):
        random_cosine_paths(**(good | change))
