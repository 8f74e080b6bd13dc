"""What a call costs before any arithmetic: one step of 64 points through each floor of the house."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from qcore import _core, schrodinger
from qcore._ops import schrodinger as ops

from .cases import DT, FFT, SPACING, Case, make
from .peers import PEERS
from .tridiagonal import coefficients

TINY = Case("overhead", (64,), steps=1)
TITLE = "A Schroedinger step of 64 points"


def calls() -> dict[str, Callable[[], Any]]:
    """What is called, by name; the raw call first."""
    problem = make(TINY)
    psi, potential, out = problem.psi, problem.potential.reshape(1, 1, -1), torch.empty_like(problem.psi)
    kappa, c = torch.tensor(problem.kappa).double(), torch.tensor(coefficients(2), dtype=torch.complex128)
    raw, op = _core.schrodinger_evolve, torch.ops.qcore.schrodinger_evolve.default
    number, codes = float(kappa), (0, 2, 0, 0, 0)  # Cayley, three points, walls, float64, the fastest backend
    names = "cayley", 2, "dirichlet", "float64", "auto", True
    split = next(peer for peer in PEERS if peer.name == FFT).build(problem)
    return {
        "raw _core call": lambda: raw(psi, potential, number, c, out, None, 1, 0, *codes),
        "torch.ops.qcore.schrodinger_evolve": lambda: op(psi, potential, kappa, c, 1, *names),
        "the same, differentiable": lambda: ops.evolve.call(psi, potential, kappa, c, 1, *names),
        "qcore.schrodinger.propagate": lambda: schrodinger.propagate(
            psi, problem.potential, dt=DT, steps=1, spacing=SPACING
        ),
        "torch: one split step": split.run,
    }
