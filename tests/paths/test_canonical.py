"""The canonical form of ReLU networks: the same function, and the same form for every gauge (section 12)."""

from __future__ import annotations

import pytest
import torch

from qcore.paths import canonical_form

T_INI, T_FIN = -0.4, 1.7


def weights(n: int = 40) -> list[torch.Tensor]:
    """With units that face left and right, flat ones, dead ones, and two at one knot."""
    w, v, b = (torch.randn(n, dtype=torch.float64) for _ in range(3))
    v[:4] = 0.0
    v[5], b[5] = 2 * v[6].abs(), -2 * v[6].abs() * 0.3
    v[6], b[6] = -v[6].abs(), v[6].abs() * 0.3
    b[7] = -v[7] * T_INI  # bends at the interval's beginning
    return [w, v, b]


def network(w: torch.Tensor, v: torch.Tensor, b: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return 0.3 + torch.relu(t[:, None] * v + b) @ w


def test_it_is_the_same_path() -> None:
    t = torch.linspace(T_INI, T_FIN, 301, dtype=torch.float64)
    given = weights()
    form = canonical_form(*given, 0.3, t_ini=T_INI, t_fin=T_FIN)
    torch.testing.assert_close(form(t, T_INI), network(*given, t), rtol=1e-12, atol=1e-12)
    assert (form.knots.diff() > 0).all()
    assert ((form.knots > T_INI) & (form.knots < T_FIN)).all()


def test_gauge_transformations_change_nothing() -> None:
    w, v, b = weights()
    scale = torch.rand(40, dtype=torch.float64) + 0.5
    order = torch.randperm(40)
    form = canonical_form(w, v, b, 0.3, t_ini=T_INI, t_fin=T_FIN)
    moved = canonical_form(
        (w / scale)[order], (scale * v)[order], (scale * b)[order], 0.3, t_ini=T_INI, t_fin=T_FIN
    )
    for one, two in zip(form, moved, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


def test_a_unit_that_faces_left_is_one_that_faces_right_and_a_line() -> None:
    one = torch.ones(1, dtype=torch.float64)
    left = canonical_form(one, -one, one, 0.0, t_ini=0.0, t_fin=2.0)  # ReLU(1 - t)
    assert [float(f) for f in (left.value, left.slope)] == [1.0, -1.0]
    assert left.knots.tolist() == [1.0]
    assert left.jumps.tolist() == [1.0]


def test_units_that_cancel_leave_nothing() -> None:
    w = torch.tensor([1.0, -2.0], dtype=torch.float64)
    v = torch.tensor([1.0, 0.5], dtype=torch.float64)
    form = canonical_form(w, v, -0.5 * v, 0.0, t_ini=0.0, t_fin=1.0)
    assert form.knots.shape == (0,)


def test_the_weights_have_gradients() -> None:
    w, v, b = (x.requires_grad_() for x in weights())
    t = torch.linspace(T_INI + 0.01, T_FIN, 50, dtype=torch.float64)
    form = canonical_form(w, v, b, 0.3, t_ini=T_INI, t_fin=T_FIN)
    found = torch.autograd.grad(form(t, T_INI).square().sum(), (w, v))
    expected = torch.autograd.grad(network(w, v, b, t).square().sum(), (w, v))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_refusals() -> None:
    x = torch.zeros(3)
    with pytest.raises(ValueError, match="t_fin: expected a time after"):
        canonical_form(x, x, x, 0.0, t_ini=1.0, t_fin=1.0)
    with pytest.raises(ValueError, match=r"inner: expected shape \(N,\)"):
        canonical_form(x, x[:2], x, 0.0, t_ini=0.0, t_fin=1.0)
    with pytest.raises(TypeError, match="bias: expected a floating type"):
        canonical_form(x, x, x.double(), 0.0, t_ini=0.0, t_fin=1.0)
    with pytest.raises(TypeError, match=r"outer: expected a torch\.Tensor"):
        canonical_form([0.0], x, x, 0.0, t_ini=0.0, t_fin=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="t_ini: expected a finite number"):
        canonical_form(x, x, x, 0.0, t_ini=float("nan"), t_fin=1.0)
    with pytest.raises(TypeError, match="offset: expected a real number"):
        canonical_form(x, x, x, "0", t_ini=0.0, t_fin=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="offset: expected a real number"):
        canonical_form(x, x, x, torch.zeros(2), t_ini=0.0, t_fin=1.0)
