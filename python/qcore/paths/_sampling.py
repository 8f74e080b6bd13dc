"""What the samplers share: times and temperatures, potentials as kernels take them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from qcore._ops._check import (
    require_count,
    require_number,
    require_positive,
    shape,
    wrong_type,
    wrong_value,
)
from qcore._ops.paths_random import WORDS
from qcore._ops.paths_samplers import KernelPotential

from ._potential import Polynomial, Potential, Table, evaluate

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
        beta = float(beta)
        step = float(hbar) * beta / slices
        if dt is None:
            return beta, step
        require_positive("dt", dt)
        if not math.isclose(dt, step, rel_tol=1e-9):
            raise wrong_value("dt", f"hbar beta / slices = {step}, or None", dt)
        return beta, step
    require_positive("dt", dt)
    assert dt is not None
    return slices * float(dt) / float(hbar), float(dt)


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


def digest(x: Tensor) -> str:
    """SHA-256 of the bits of a tensor, which tells one start from another in a checkpoint."""
    return hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def finite_at(potential: Potential, x: Tensor, name: str) -> None:
    """Refuse a potential that isn't finite where paths begin."""
    kernel_potential(potential)
    if not bool(torch.isfinite(evaluate(potential, x, name)).all()):
        raise wrong_value(name, "finite values where the paths begin", "some that aren't")


def require_confining(potential: Potential) -> None:
    """Refuse polynomials that fall without end: the weights of closed paths have no finite sum there."""
    if not isinstance(potential, Polynomial) or potential.coefficients.ndim != 1:
        return
    c = potential.coefficients.tolist()
    degree = max((k for k, value in enumerate(c) if value), default=0)
    if degree and (degree % 2 or c[degree] < 0):
        raise wrong_value("potential", "one bounded below", f"a leading term of {c[degree]:g} x^{degree}")


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


def require_cpu(x: Tensor) -> None:
    """Refuse chains on a GPU whose potential is a function of torch."""
    if not x.is_cpu:
        raise wrong_value(
            "device", "the CPU for a function of torch (tables and polynomials run on a GPU)", x.device
        )


def checked_steps(steps: int | None) -> None:
    """Refuse what is not a number of steps."""
    require_count("steps", steps)
    if not steps:
        raise wrong_value("steps", "at least 1", steps)


def starting_point(
    start: float | Tensor,
    size: tuple[int, ...],
    dtype: torch.dtype,
    name: str = "start",
    many: str = "chains",
) -> Tensor:
    """The first state, of the size (chains, ...), from a number or a tensor; names are those of arguments."""
    require_count(many, size[0])
    if not 1 <= size[0] <= WORDS:
        raise wrong_value(many, "1 to 2^32", size[0])
    if dtype not in (torch.float32, torch.float64):
        raise wrong_type("dtype", "torch.float32 or torch.float64", dtype)
    if isinstance(start, Tensor):
        if start.shape != size:
            raise wrong_value(name, f"shape {size}", shape(start))
        x = start.detach().to("cpu", dtype).contiguous().clone()
    else:
        require_number(name, start)
        x = torch.full(size, float(start), dtype=dtype)
    if not bool(torch.isfinite(x).all()):
        raise wrong_value(name, "finite numbers", "some that aren't")
    return x


def checked_lags(lags: Sequence[int], largest: int) -> tuple[int, ...]:
    """Lags of correlators."""
    require_sequence("lags", lags, "ints")
    for lag in lags:
        require_count("lags", lag)
        if lag > largest:
            raise wrong_value("lags", f"ints from 0 to {largest}", lag)
    if len(set(lags)) < len(lags):
        raise wrong_value("lags", "ints that differ", tuple(lags))
    return tuple(lags)


def require_sequence(name: str, value: Any, of: str) -> None:
    """Refuse what is not a list, tuple or the like."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise wrong_type(name, f"a sequence of {of}", type(value).__name__)


def checked_samples(samples: int) -> None:
    """Refuse what is not a number of samples."""
    require_count("samples", samples)
