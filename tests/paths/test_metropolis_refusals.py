"""Metropolis sampling: what is refused, by the function and by the kernel behind it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from qcore import _core
from qcore.paths import Polynomial, Table, metropolis

from .metropolis_support import QUARTIC


def total(x: Tensor) -> Tensor:
    return x.square().sum()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"beta": 0.0}, ValueError, "beta: expected a finite number > 0, got 0"),
        ({"beta": -2.0}, ValueError, "beta: expected"),
        ({"beta": math.nan}, ValueError, "beta: expected"),
        ({"beta": None}, ValueError, "beta: expected beta or dt, got neither"),
        ({"dt": 0.1}, ValueError, "dt: expected hbar beta / slices = 0.25"),
        ({"beta": None, "dt": -0.1}, ValueError, "dt: expected a finite number > 0"),
        ({"slices": 1}, ValueError, "slices: expected at least 2, got 1"),
        ({"slices": 8.0}, TypeError, "slices: expected an int"),
        ({"chains": 0}, ValueError, "chains: expected 1 to"),
        ({"mass": 0.0}, ValueError, "mass"),
        ({"hbar": -1.0}, ValueError, "hbar"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 2**64}, ValueError, "seed: expected an int below"),
        ({"scheme": "chin4"}, ValueError, "scheme: expected one of"),
        ({"boundary": "open"}, ValueError, "boundary: expected one of"),
        ({"boundary": "pinned"}, ValueError, "ends: expected \\(x_0, x_N\\)"),
        ({"ends": (0.0, 1.0)}, ValueError, "ends: expected None"),
        ({"boundary": "pinned", "ends": (0.0, math.inf)}, ValueError, "ends: expected finite"),
        (
            {"boundary": "pinned", "ends": (0.0, 1.0), "moves": ("reflection",)},
            ValueError,
            "moves: expected no",
        ),
        ({"moves": ()}, ValueError, "moves: expected 1 to 8"),
        ({"moves": "single"}, TypeError, "moves: expected a sequence"),
        ({"moves": ("swap",)}, ValueError, "moves: expected one of"),
        ({"moves": ("bisection",), "scheme": "midpoint"}, ValueError, "moves: expected staging"),
        ({"moves": ("bisection",), "segment": 6}, ValueError, "segment: expected a power of two"),
        ({"segment": 1}, ValueError, "segment: expected 2 to 8 links"),
        ({"segment": 9}, ValueError, "segment: expected 2 to 8 links"),
        ({"hits": 0}, ValueError, "hits: expected 1 to 32768"),
        ({"every": 0}, ValueError, "every: expected at least 1"),
        ({"lags": (8,)}, ValueError, "lags: expected ints from 0 to 7, got 8"),
        ({"lags": (1, 1)}, ValueError, "lags: expected ints that differ"),
        ({"lags": 3}, TypeError, "lags: expected a sequence"),
        ({"moves": None}, TypeError, "moves: expected a sequence"),
        ({"histogram": 3.0}, TypeError, "histogram: expected a sequence"),
        ({"boundary": "pinned", "ends": 1.0}, TypeError, "ends: expected a sequence"),
        ({"keep_chains": "yes"}, TypeError, "keep_chains: expected a bool"),
        ({"lags": (-1,)}, ValueError, "lags: expected an int >= 0"),
        ({"histogram": (1.0, -1.0, 10)}, ValueError, "histogram: expected low < high"),
        ({"histogram": (1.0, 2.0)}, ValueError, "histogram: expected \\(low, high, bins\\)"),
        ({"start": torch.zeros(3, 3)}, ValueError, "start: expected shape"),
        ({"start": math.nan}, ValueError, "start: expected finite"),
        ({"dtype": torch.float16}, TypeError, "dtype"),
        ({"sweeps": -1}, ValueError, "sweeps"),
        (
            {"potential": [0.0, 0.0, -1.0]},
            ValueError,
            r"expected one bounded below, got .* -1 x\^2",
        ),
        ({"potential": [0.0, 0.0, 1.0, 2.0, 0.0]}, ValueError, r"leading term of 2 x\^3"),
        ({"potential": "x**2"}, TypeError, "potential: expected polynomial coefficients"),
        ({"potential": [0.0, math.nan]}, ValueError, "potential: expected finite"),
        ({"potential": Polynomial(torch.rand(4, 3))}, ValueError, "potential: expected one polynomial"),
        ({"potential": total}, ValueError, "potential: expected values of shape"),
        ({"potential": lambda x: x > 0}, TypeError, "potential: expected real values"),
        ({"potential": lambda x: 0.0}, TypeError, "potential: expected a torch.Tensor"),
        ({"potential": lambda x: x / x}, ValueError, "potential: expected finite values where"),
        ({"potential": Table(torch.rand(4), 0.0, 1.0)}, ValueError, "potential.values"),
    ],
)
def test_metropolis_refuses(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    good: dict[str, Any] = {
        "potential": QUARTIC,
        "beta": 2.0,
        "slices": 8,
        "chains": 4,
        "sweeps": 2,
        "warmup": 0,
    }
    with pytest.raises(error, match=message):
        metropolis(**{**good, **arguments})


def raw(**arguments: Any) -> None:
    """A direct call of the kernel, right but for what is given."""
    double = torch.float64
    good: dict[str, Any] = {
        "x": torch.zeros(8, 5),
        "step": torch.ones(2, 5, dtype=double),
        "counts": torch.zeros(2, 1, 5, dtype=double),
        "measured": torch.zeros(2, 5, 5, dtype=double),
        "accepted": torch.zeros(5, dtype=double),
        "histogram": None,
        "potential": torch.tensor(QUARTIC, dtype=double),
        "table": False,
        "table_start": 0.0,
        "inverse_spacing": 1.0,
        "link": 4.0,
        "potential_scale": 0.25,
        "correction": 0.0,
        "midpoint": False,
        "pinned": False,
        "warmup": False,
        "moves": [0],
        "segment": 4,
        "hits": 1,
        "first": 0,
        "sweeps": 2,
        "every": 1,
        "lags": [1],
        "histogram_start": 0.0,
        "inverse_bin": 1.0,
        "seed": 0,
    }
    _core.paths_metropolis(**{**good, **arguments})


SHARED = torch.zeros(100, dtype=torch.float64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": torch.zeros(8, 5, dtype=torch.complex64)}, "x: expected dtype float32 or float64"),
        ({"x": torch.zeros(8)}, "x: expected shape \\(beads, chains\\)"),
        ({"x": torch.zeros(5, 8).T}, "x: expected a contiguous"),
        ({"x": torch.zeros(1, 5)}, "x: expected a number from 2"),
        ({"step": torch.zeros(2, 5)}, "step: expected dtype float64"),
        ({"step": torch.zeros(2, 4, dtype=torch.float64)}, "step: expected shape"),
        ({"counts": torch.zeros(2, 2, 5, dtype=torch.float64)}, "counts: expected shape"),
        ({"measured": torch.zeros(3, 5, 5, dtype=torch.float64)}, "measured: expected shape"),
        ({"accepted": torch.zeros(4, dtype=torch.float64)}, "accepted: expected shape"),
        ({"histogram": torch.zeros(3)}, "histogram: expected dtype float64"),
        ({"histogram": torch.zeros(3, dtype=torch.float64), "inverse_bin": 0.0}, "inverse_bin"),
        ({"accepted": SHARED[:5], "step": SHARED[:10].view(2, 5)}, "memory that overlaps step"),
        ({"accepted": SHARED[:5], "potential": SHARED[4:7]}, "memory that overlaps potential"),
        ({"potential": torch.zeros(17, dtype=torch.float64)}, "potential: expected 1 to 16"),
        ({"potential": torch.zeros(3)}, "potential: expected dtype float64"),
        ({"table": True}, "potential: expected shape \\(cells, 4\\)"),
        (
            {"table": True, "potential": torch.zeros(3, 4, dtype=torch.float64), "inverse_spacing": 0.0},
            "spacing",
        ),
        ({"link": 0.0}, "link: expected a finite number > 0"),
        ({"potential_scale": math.nan}, "potential_scale"),
        ({"correction": -1.0}, "correction"),
        ({"correction": 1.0, "midpoint": True}, "correction"),
        ({"moves": []}, "moves: expected a number from 1 to 8"),
        ({"moves": [5]}, "moves: expected a number from 0 to 4"),
        ({"moves": [3], "pinned": True}, "moves: expected none of the whole path"),
        ({"moves": [2], "segment": 6}, "segment: expected a power of two"),
        ({"moves": [2], "midpoint": True}, "moves: expected no bisection"),
        ({"segment": 9}, "segment: expected a number from 1 to 8"),
        ({"hits": 0}, "hits"),
        ({"every": 0}, "every"),
        ({"first": -1}, "first"),
        ({"first": 2**32 - 1}, "sweeps: expected"),
        ({"lags": [8]}, "lags: expected a number from 0 to 7"),
        ({"lags": [5], "pinned": True}, "lags: expected a number from 0 to 4"),
    ],
)
def test_the_kernel_refuses(arguments: dict[str, Any], message: str) -> None:
    raw()
    with pytest.raises(ValueError, match=message):
        raw(**arguments)


def test_the_kernel_takes_no_chains_and_no_sweeps() -> None:
    double = torch.float64
    raw(
        x=torch.zeros(8, 0),
        step=torch.zeros(2, 0, dtype=double),
        counts=torch.zeros(2, 1, 0, dtype=double),
        measured=torch.zeros(2, 5, 0, dtype=double),
        accepted=torch.zeros(0, dtype=double),
    )
    x, accepted = torch.rand(8, 5), torch.ones(5, dtype=double)
    before = x.clone()
    raw(x=x, accepted=accepted, sweeps=0, measured=torch.zeros(0, 5, 5, dtype=double))
    assert torch.equal(x, before)
    assert bool((accepted == 0).all())


def test_nan_in_one_chain_stays_there() -> None:
    x = torch.zeros(8, 5)
    x[3, 2] = math.nan
    measured = torch.zeros(2, 5, 5, dtype=torch.float64)
    raw(x=x, measured=measured)
    assert torch.equal(measured.isnan().any(1).any(0), torch.tensor([False, False, True, False, False]))
