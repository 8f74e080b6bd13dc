"""Potentials: what numbers, tables and functions mean, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from qcore.paths import Polynomial, Table
from qcore.paths._potential import as_potential


def test_coefficients_start_with_the_constant() -> None:
    x = torch.tensor([-2.0, 0.0, 1.5], dtype=torch.float64)
    torch.testing.assert_close(as_potential([1.0, 0.0, 0.5, 0.0, 2.0])(x), 1 + 0.5 * x**2 + 2 * x**4)


def test_coefficients_per_path() -> None:
    x = torch.rand(3, 7, dtype=torch.float64)
    c = torch.rand(3, 4, dtype=torch.float64)
    expected = sum(c[:, k, None] * x**k for k in range(4))
    torch.testing.assert_close(Polynomial(c)(x), expected)


def test_a_table_is_exact_for_cubics_and_goes_on_straight() -> None:
    def v(x: torch.Tensor) -> torch.Tensor:
        return 1 - 2 * x + 0.3 * x**2 + 0.1 * x**3

    points = -1 + 0.25 * torch.arange(9, dtype=torch.float64)
    table = Table(v(points), -1.0, 0.25)
    inside = torch.linspace(-1, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(table(inside), v(inside), rtol=0, atol=1e-13)
    slope = -2 + 0.6 + 0.3
    torch.testing.assert_close(table(torch.tensor([3.0], dtype=torch.float64))[0], v(points[-1]) + 2 * slope)


def test_a_table_is_of_fourth_order() -> None:
    x = torch.linspace(-1.5, 1.5, 1001, dtype=torch.float64)  # the end cells err by h^5 more
    errors = []
    for n in (33, 65, 129):
        points = torch.linspace(-2, 2, n, dtype=torch.float64)
        table = Table(points.cos(), -2.0, 4 / (n - 1))
        errors.append(float((table(x) - x.cos()).abs().max()))
    assert 13 < errors[0] / errors[1] < 19
    assert 13 < errors[1] / errors[2] < 19


def test_a_table_is_differentiable() -> None:
    values = torch.rand(7, dtype=torch.float64, requires_grad=True)
    x = (3 * torch.rand(6, dtype=torch.float64) - 0.5).requires_grad_()
    assert gradcheck(lambda values, x: Table(values, 0.0, 0.35)(x), (values, x))


def test_a_table_at_nan_is_nan() -> None:
    found = Table(torch.rand(6), 0.0, 0.5)(torch.tensor([0.3, float("nan"), 9.0]))
    assert found.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("potential", "error", "message"),
    [
        ("x**2", TypeError, "coefficients, a Table or a function"),
        (None, TypeError, "coefficients, a Table or a function"),
        ([], ValueError, "1 to 16 coefficients"),
        ([0.0] * 17, ValueError, "1 to 16 coefficients"),
        ([0.0, float("nan")], ValueError, "finite"),
        (Table(torch.rand(4), 0.0, 1.0), ValueError, "n >= 5"),
        (Table(torch.rand(6), 0.0, 0.0), ValueError, "spacing"),
        (
            Table(torch.rand(6), 0.0, float("inf")),
            ValueError,
            "spacing: expected a finite number > 0",
        ),
        (Table(torch.rand(6), 0.0, "1"), TypeError, "potential.spacing"),  # type: ignore[arg-type]
        (Table(torch.rand(6), float("nan"), 1.0), ValueError, "potential.start: expected a finite number"),
        (Table([0.0] * 6, 0.0, 1.0), TypeError, "potential.values: expected a torch.Tensor"),  # type: ignore[arg-type]
        (Table(torch.full((6,), float("inf")), 0.0, 1.0), ValueError, "finite"),
        (Polynomial(torch.rand(3, dtype=torch.complex128)), TypeError, "real"),
    ],
)
def test_refusals(potential: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_potential(potential)  # type: ignore[arg-type]
