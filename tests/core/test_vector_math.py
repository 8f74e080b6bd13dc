"""Elementary functions on vectors: a few units in the last place, and libm's answers where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from qcore import _core

DTYPES = (torch.float32, torch.float64)


def apply(name: str, x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    _core.vector_function(name, x, out)
    return out


def turns(f: str, x: np.ndarray) -> np.ndarray:
    return getattr(np, f)(2 * np.arccos(np.longdouble(-1)) * (x - np.rint(x)))


EXACT = {
    "exp": np.exp,
    "expm1": np.expm1,
    "exp_bounded": np.exp,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sqrt": np.sqrt,
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
    "sin_turns": lambda x: turns("sin", x),
    "cos_turns": lambda x: turns("cos", x),
}
# Range of x, and units in the last place; of sin and cos those of numbers below 1.
CASES = [
    ("exp", (-80, 80), 3),
    ("exp_bounded", (-80, 80), 3),
    ("expm1", (-20, 20), 4),
    ("tanh", (-12, 12), 6),
    ("sigmoid", (-30, 30), 6),
    ("sqrt", (0, 1e6), 0.51),
    ("log", (1e-6, 10), 3),
    ("log", (0.9, 1.1), 3),
    ("sin", (-4000, 4000), 2),
    ("cos", (-4000, 4000), 2),
    ("sin_turns", (-3, 3), 3),
    ("cos_turns", (-3, 3), 3),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "bounds", "units"), CASES)
def test_a_few_units_in_the_last_place(
    name: str, bounds: tuple[float, float], units: float, dtype: torch.dtype
) -> None:
    low, high = bounds
    x = (low + (high - low) * torch.rand(20_003, dtype=torch.float64)).to(dtype)
    value = apply(name, x)
    exact = EXACT[name](x.numpy().astype(np.longdouble))
    kind = np.float32 if dtype == torch.float32 else np.float64
    size = np.ones_like(exact) if name.startswith(("sin", "cos")) else np.abs(exact)
    unit = np.spacing(size.astype(kind)).astype(np.longdouble)
    if name.startswith(("sin", "cos")):
        unit = unit / 2  # below 1
    assert float((np.abs(value.numpy().astype(np.longdouble) - exact) / unit).max()) < 1.5 * units + 0.5 * (
        name != "sqrt"
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_over_the_whole_range(dtype: torch.dtype) -> None:
    exponents = range(-149, 128) if dtype == torch.float32 else range(-1074, 1024)
    x = torch.tensor([2.0**k * m for k in exponents for m in (1.0, 1.3, 1.9)], dtype=torch.float64).to(dtype)
    x = x[(x > 0) & x.isfinite()]
    exact = np.log(x.numpy().astype(np.longdouble))
    value = apply("log", x).numpy().astype(np.longdouble)
    epsilon = torch.finfo(dtype).eps
    assert (np.abs(value - exact) <= 3 * epsilon * np.abs(exact) + 1e-30).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_where_there_is_no_answer(dtype: torch.dtype) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([0.0, -0.0, -1.0, inf, -inf, nan], dtype=dtype)
    for name in ("log", "exp", "sqrt", "tanh"):
        function = getattr(torch, name)
        torch.testing.assert_close(apply(name, x), function(x), equal_nan=True)
    for name in ("sin", "cos", "sin_turns", "cos_turns"):
        assert bool(apply(name, x[3:]).isnan().all())
    zeros = apply("sin", x[:2]), apply("sin_turns", x[:2])
    assert all(bool((zero == 0).all()) for zero in zeros)


def test_the_last_lanes() -> None:
    x = torch.linspace(0.1, 5, 67, dtype=torch.float64)
    whole = apply("log", x)
    for n in range(68):
        assert torch.equal(apply("log", x[:n]), whole[:n])


@pytest.mark.parametrize(
    ("name", "x", "out", "message"),
    [
        ("lgamma", torch.ones(3), torch.ones(3), "name: expected that of an elementary function, got lgamma"),
        ("log", torch.ones(3, dtype=torch.int32), torch.ones(3), "x"),
        ("log", torch.ones(6)[::2], torch.ones(3), "x: expected a contiguous"),
        ("log", torch.ones(3), torch.ones(4), "out: expected shape"),
        ("log", torch.ones(3), torch.ones(3, dtype=torch.float64), "out: expected dtype float32"),
    ],
)
def test_refusals(name: str, x: Tensor, out: Tensor, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        _core.vector_function(name, x, out)
