"""What the samplers share: times and temperatures, potentials as kernels take them."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import torch
from torch import Tensor

from qcore._ops._check import require_count, require_positive, require_tensor, shape, wrong_type, wrong_value
from qcore._ops.paths_samplers import KernelPotential

from ._potential import Polynomial, Potential, Table

Real: TypeAlias = "float | int"


def duration(beta: float | None, dt: float | None, slices: int, hbar: float) -> tuple[float, float]:
    """beta and dt = hbar beta / slices from either of them, or from both if they agree."""
    require_count("slices", slices)
    if slices < 2:
        raise wrong_value("slices", "at least 2", slices)
    if beta is None and dt is None:
        raise wrong_value("beta", "beta or dt", "neither")
    if beta is not None:
        require_positive("beta", beta)
        step = hbar * beta / slices
        if dt is None:
            return float(beta), step
        require_positive("dt", dt)
        if not math.isclose(dt, step, rel_tol=1e-9):
            raise wrong_value("dt", f"hbar beta / slices = {step}, or None", dt)
        return float(beta), step
    require_positive("dt", dt)
    assert dt is not None
    return slices * dt / hbar, float(dt)


def kernel_potential(potential: Potential) -> KernelPotential | None:
    """For the kernels; None for a function of torch."""
    if isinstance(potential, Polynomial):
        if potential.coefficients.ndim != 1:
            raise wrong_value(
                "potential", "one polynomial, (K+1,), for all chains", shape(potential.coefficients)
            )
        return KernelPotential(potential.coefficients.detach().cpu().contiguous())
    if isinstance(potential, Table):
        cells = potential.cells().detach().cpu().contiguous()
        return KernelPotential(cells, True, float(potential.start), 1 / float(potential.spacing))
    return None


def evaluate(potential: Potential, x: Tensor, name: str = "potential") -> Tensor:
    """V(x), checked to be real numbers one for each of x."""
    value = potential(x)
    require_tensor(name, value)
    if value.shape != x.shape:
        raise wrong_value(name, f"values of shape {tuple(x.shape)}, like its argument", shape(value))
    if value.is_complex() or not value.is_floating_point():
        raise wrong_type(name, "real values", value.dtype)
    return value


def finite_at(potential: Potential, x: Tensor, name: str) -> None:
    """Refuse a potential that isn't finite where paths begin."""
    kernel_potential(potential)
    if not bool(torch.isfinite(evaluate(potential, x, name)).all()):
        raise wrong_value(name, "finite values where the paths begin", "some that aren't")


def fingerprint(potential: Potential) -> dict[str, Any]:
    """What tells one potential from another in a checkpoint; of a function its values at some points."""
    if isinstance(potential, Polynomial):
        return {"coefficients": potential.coefficients.tolist()}
    if isinstance(potential, Table):
        values = potential.values.double()
        return {"values": values.tolist(), "start": potential.start, "spacing": potential.spacing}
    points = torch.linspace(-4, 4, 33, dtype=torch.float64)
    with torch.no_grad():
        values = evaluate(potential, points).double()
    name = getattr(potential, "__qualname__", type(potential).__qualname__)
    return {"function": name, "values": [repr(value) for value in values.tolist()]}


def checked_steps(steps: int | None) -> None:
    """Refuse what is not a number of steps."""
    require_count("steps", steps)
    if not steps:
        raise wrong_value("steps", "at least 1", steps)


def checked_samples(samples: int) -> None:
    """Refuse what is not a number of samples."""
    require_count("samples", samples)
