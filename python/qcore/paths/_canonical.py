"""The canonical form of ReLU networks of one input: what networks that are the same path have in common."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from qcore._ops._check import require_number, require_tensor, shape, wrong_type, wrong_value


class CanonicalPath(NamedTuple):
    """x(t) = value + slope (t - t_ini) + sum_k jumps_k max(t - knots_k, 0) on [t_ini, t_fin].

    Attributes:
        value: x(t_ini), 0-dim.
        slope: the velocity at t_ini, 0-dim.
        knots: (K,), rising, strictly between t_ini and t_fin, none twice.
        jumps: (K,), of the velocity at the knots, none zero.
    """

    value: Tensor
    slope: Tensor
    knots: Tensor
    jumps: Tensor

    def __call__(self, t: Tensor, t_ini: float) -> Tensor:
        """x at times t, of any shape."""
        bends = (t.unsqueeze(-1) - self.knots).clamp(min=0.0) @ self.jumps
        return self.value + self.slope * (t - t_ini) + bends


def canonical_form(
    outer: Tensor, inner: Tensor, bias: Tensor, offset: float | Tensor, *, t_ini: float, t_fin: float
) -> CanonicalPath:
    """The path of x(t) = offset + sum_n outer_n ReLU(inner_n t + bias_n) on an interval, without its gauge.

    Weights are redundant: (w, v, b) and (w / c, c v, c b) are the same unit for every c > 0, units may be
    permuted, and one that faces left is one that faces right and a straight line. Two networks are the same
    function on the interval if and only if their canonical forms agree.

    Args:
        outer, inner, bias: w, v and b of the units, (N,), of one floating type.
        offset: the output's bias.
        t_ini, t_fin: the ends of the interval, t_ini < t_fin.

    Returns:
        A :class:`CanonicalPath`, of the type of the weights.

    Raises:
        ValueError: shapes that differ, or an interval without length.
        TypeError: what is no tensor or number.

    Source: arXiv:2403.11420, A.1-A.5, with the cases of negative and zero weights; theory section 12.
    """
    for name, tensor in (("outer", outer), ("inner", inner), ("bias", bias)):
        require_tensor(name, tensor)
        if not tensor.is_floating_point() or tensor.dtype != outer.dtype:
            raise wrong_type(name, f"a floating type, {outer.dtype}", tensor.dtype)
        if tensor.ndim != 1 or tensor.shape != outer.shape:
            raise wrong_value(name, "shape (N,), the same for all weights", shape(tensor))
    for name, time in (("t_ini", t_ini), ("t_fin", t_fin)):
        require_number(name, time)
        if not math.isfinite(time):
            raise wrong_value(name, "a finite number", time)
    if not isinstance(offset, Tensor):
        require_number("offset", offset)
    elif offset.ndim or offset.is_complex():
        raise wrong_value("offset", "a real number", shape(offset))
    if not t_ini < t_fin:
        raise wrong_value("t_fin", f"a time after t_ini = {t_ini}", t_fin)
    # At t_ini every unit has a value and a slope; those that change on the way are knots.
    start = inner * t_ini + bias
    rises = (start > 0) | ((start == 0) & (inner > 0))
    value = (outer * start.clamp(min=0.0)).sum() + offset
    slope = torch.where(rises, outer * inner, 0.0).sum()
    at = -bias / torch.where(inner == 0, 1.0, inner)
    bends = (inner != 0) & (at > t_ini) & (at < t_fin)
    bent = at[bends]
    known, places = torch.unique(bent.detach(), return_inverse=True)
    sizes = (outer * inner.abs())[bends]
    jumps = known.new_zeros(known.shape).index_add(0, places, sizes)
    # A knot moves with its units, each as much as it bends: `unique` itself has no derivative.
    total = jumps.detach()[places]
    share = torch.where(total != 0, sizes.detach() / total, 0.0)
    knots = known.index_add(0, places, share * (bent - bent.detach()))
    return CanonicalPath(value, slope, knots[jumps != 0], jumps[jumps != 0])
