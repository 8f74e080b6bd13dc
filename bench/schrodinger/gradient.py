"""The gradient of a run with respect to its potential, timed against the run itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor

from ..stencil.measure import Verdict
from ..table import Table
from ..timing import Disagreement, interleave, once
from .cases import Case, Problem, make
from .measure import described
from .peers import peers_of, propagated, with_steps

CHECK_STEPS, CHANGE = 6, 1e-3
TOLERANCE = {torch.complex128: 1e-6, torch.complex64: 1e-3}

NOTE = """\
ns: per point and step. Forward: without gradients. Backward: the gradient to V from the finished forward,
whose states it finds again by running back. Whole: both, as a training step pays. Ratios to the forward:
medians over rounds in which the three took turns."""


@dataclass
class Row:
    """A case as measured, in seconds; sample i of each was taken in the same round."""

    case: Case
    forward: list[float]
    backward: list[float]
    whole: list[float]

    def ns(self, samples: list[float]) -> float:
        """Median, per point-step."""
        return 1e9 * median(samples) / self.case.point_steps

    def times_forward(self, samples: list[float]) -> tuple[float, float, float]:
        """Quartiles of the ratio to the forward, the median in the middle."""
        low, middle, high = quantiles(
            [b / a for a, b in zip(self.forward, samples, strict=True)], n=4, method="inclusive"
        )
        return low, middle, high

    def verdicts(self) -> list[Verdict]:
        """Whether the backward takes as little as asked; turned over, so that more is better."""
        most = self.case.targets.backward
        ratio = self.times_forward(self.backward)[1]
        return [] if most is None else [Verdict(f"backward <= {most:g} forward", 1 / most, 1 / ratio)]

    def record(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "name": self.case.name,
            "case": described(self.case),
            "ns_forward": self.ns(self.forward),
            "ns_backward": self.ns(self.backward),
            "backward_to_forward": self.times_forward(self.backward)[1],
            "whole_to_forward": self.times_forward(self.whole)[1],
            "seconds_forward": self.forward,
            "seconds_backward": self.backward,
            "seconds_whole": self.whole,
            "asked": [verdict._asdict() | {"reached": verdict.reached} for verdict in self.verdicts()],
        }


def loss(psi: Tensor) -> Tensor:
    """How much is in the right half: sum over the grid, squared, mean over systems."""
    half = psi[..., psi.shape[-1] // 2 :]
    return (half.real.double() ** 2 + half.imag.double() ** 2).sum() / psi.shape[0]


def runs(problem: Problem) -> list[Callable[[], Any]]:
    """Forward, backward, whole."""
    potential = problem.potential.clone().requires_grad_()
    kept = loss(propagated(problem, potential))

    def backward() -> Tensor:
        return torch.autograd.grad(kept, potential, retain_graph=True)[0]

    def whole() -> Tensor:
        return torch.autograd.grad(loss(propagated(problem, potential)), potential)[0]

    return [lambda: propagated(problem, problem.potential), backward, whole]


def check_gradient(case: Case) -> None:
    """Compare with differences of a peer that solves the same systems, along a random change of V.

    Raises:
        Disagreement: they differ by more than they may.
    """
    peers = [peer for peer in peers_of(case) if peer.exact]
    if not peers:
        return
    problem = with_steps(make(case), min(case.steps, CHECK_STEPS))
    wide = replace(problem.case, dtype=torch.complex128)  # rounding would drown a difference of complex64
    generator = torch.Generator().manual_seed(0)
    direction = torch.rand(problem.potential.shape, generator=generator, dtype=torch.float64)
    direction[..., : case.space[-1] // 2] *= -1  # a force: the loss changes to first order
    sides = []
    for sign in (1, -1):
        moved = Problem(wide, problem.psi.cdouble(), problem.potential + sign * CHANGE * direction)
        theirs = peers[0].build(moved)
        sides.append(loss(theirs.read(theirs.run())))
    expected = float((sides[0] - sides[1]) / (2 * CHANGE))
    got = float((runs(problem)[2]() * direction).sum())
    if not abs(got - expected) <= TOLERANCE[case.dtype] * abs(expected):
        raise Disagreement(
            f"{case.name} {case.label}: derivative {got:.6g}, "
            f"by differences of '{peers[0].name}' {expected:.6g}"
        )


def measure(case: Case, *, seconds: float = 10.0) -> Row:
    """Time the three in turn, three rounds at least.

    Raises:
        Disagreement: the gradient is not what a peer's differences say.
    """
    check_gradient(case)
    made = runs(make(case))
    first = [once(run) for run in made]
    sample = min(0.02, seconds / 20)
    repeats = [max(1, ceil(sample / time)) for time in first]
    turn = sum(time * count for time, count in zip(first, repeats, strict=True))
    return Row(case, *interleave(made, repeats, max(3, min(31, int(seconds / turn)))))


def table(rows: list[Row]) -> Table:
    """The rows beside each other."""
    columns = [
        "row",
        "systems",
        "forward ns",
        "backward ns",
        "backward / forward (quartiles)",
        "whole / forward",
    ]
    made = Table("Gradients with respect to the potential", [*columns, "asked for"], note=NOTE)
    for row in rows:
        low, middle, high = row.times_forward(row.backward)
        cells = [f"{row.ns(row.forward):.3g}", f"{row.ns(row.backward):.3g}"]
        cells += [f"{middle:.3g} ({low:.3g}..{high:.3g})", f"{row.times_forward(row.whole)[1]:.3g}"]
        made.rows.append([row.case.name, row.case.label, *cells, ", ".join(map(str, row.verdicts()))])
    return made


__all__ = ["Disagreement", "Row", "check_gradient", "measure", "table"]
