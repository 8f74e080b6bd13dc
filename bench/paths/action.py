"""Actions of given paths and fields, and their gradients, beside torch eager and compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from qcore import _core, paths

from ..ceiling import Ceilings
from ..table import Table
from ..timing import Comparison, Disagreement, compare, interleave

PREFIX = "paths/action/"
QUARTIC = [0.0, 0.0, 0.5, 0.0, 1.0]
DT = 0.1

Run = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """What is computed: of paths (batch, N + 1), or of fields (batch, T, L), float32.

    Attributes:
        name: of the row.
        shape: of x.
        kind: "forward", "gradient" (forward and backward), "network" (the action of a ReLU path's weights) or
            "field" (the gradient of the phi^4 action).
        scheme: of the action.
        best, eager: ratios asked for, to the better of torch's two and to eager torch.
        share: of the read bandwidth, asked for.
    """

    name: str
    shape: tuple[int, ...]
    kind: str = "forward"
    scheme: str = "trapezoid"
    best: float | None = None
    eager: float | None = None
    share: float | None = None

    @property
    def slices(self) -> int:
        """Beads or sites."""
        return int(torch.Size(self.shape).numel())


def rows() -> list[Case]:
    """All cases."""
    return [
        Case(f"{PREFIX}quartic, memory", (262144, 129), best=3.0, eager=30.0, share=0.6),
        Case(f"{PREFIX}quartic, cache", (256, 1025), best=3.0, eager=30.0),
        Case(f"{PREFIX}quartic, short paths", (4096, 33), best=3.0, eager=30.0),
        Case(f"{PREFIX}quartic, midpoint", (16384, 129), scheme="midpoint", best=3.0),
        Case(f"{PREFIX}quartic, chin4", (16384, 129), scheme="chin4", best=3.0),
        Case(f"{PREFIX}quartic with gradient", (16384, 129), "gradient", best=3.0),
        Case(f"{PREFIX}of a ReLU network's weights", (16384, 128), "network", best=3.0),
        Case(f"{PREFIX}phi^4 force", (1024, 32, 32), "field", best=3.0),
    ]


# --- what a user would write ---


def torch_action(x: Tensor, scheme: str) -> Tensor:
    """The Euclidean action of the quartic potential in plain torch, in the type of x."""
    here, there = x[:, :-1], x[:, 1:]
    kinetic = (there - here).square().sum(1) * (0.5 / DT)
    if scheme == "midpoint":
        y = (here + there) * 0.5
        square = y * y
        return kinetic + DT * (square * (0.5 + square)).sum(1)
    square = x * x
    v = square * (0.5 + square)
    if scheme == "trapezoid":
        return kinetic + DT * (v.sum(1) - 0.5 * (v[:, 0] + v[:, -1]))
    force = x + 4 * x * square
    even, odd = v[:, 0::2], v[:, 1::2]
    whole = even.sum(1) - 0.5 * (even[:, 0] + even[:, -1])
    corrected = (odd + (DT * DT / 12) * force[:, 1::2].square()).sum(1)
    return kinetic + DT * (2 / 3 * whole + 4 / 3 * corrected)


def torch_network(w: Tensor, scheme: str) -> Tensor:
    """The action of the paths whose velocity jumps are w, sums in float64 as ours."""
    x = DT * torch.cumsum(torch.cumsum(w.double(), 1), 1)
    return torch_action(torch.cat((torch.zeros_like(x[:, :1]), x), 1), scheme)


def torch_force(phi: Tensor, _: str) -> Tensor:
    """dS / dphi of phi^4 by rolls."""
    around = sum(torch.roll(phi, s, axis) for axis in (1, 2) for s in (1, -1))
    return 4 * phi - around + phi * (-1.0 + 4 * 0.3 * phi * phi)


def make(case: Case, device: str = "cpu") -> Tensor:
    """Random paths, fields or weights."""
    x = 0.5 * torch.randn(case.shape, generator=torch.Generator().manual_seed(0))
    return (0.1 * x if case.kind == "network" else x).to(device)


def theirs(case: Case, x: Tensor, *, compiled: bool) -> Run:
    """Torch eager, or compiled."""
    function: Any = {"network": torch_network, "field": torch_force}.get(case.kind, torch_action)
    if compiled:
        function = torch.compile(function, dynamic=False)
    if case.kind != "gradient":
        return lambda: function(x, case.scheme)
    leaf = x.clone().requires_grad_()
    return lambda: torch.autograd.grad(function(leaf, case.scheme).sum(), leaf)[0]


def ours(case: Case, x: Tensor) -> Run:
    """The same by the library's public functions."""
    if case.kind == "field":
        return lambda: paths.phi4_gradient(x, mass2=-1.0, coupling=0.3)
    if case.kind == "network":
        return lambda: paths.action_from_acceleration(x, 0.0, QUARTIC, dt=DT, scheme=case.scheme)
    if case.kind == "forward":
        return lambda: paths.action(x, QUARTIC, dt=DT, scheme=case.scheme)
    leaf = x.clone().requires_grad_()
    return lambda: torch.autograd.grad(paths.action(leaf, QUARTIC, dt=DT, scheme=case.scheme).sum(), leaf)[0]


# --- measuring ---


@dataclass
class Row:
    """A case as measured."""

    case: Case
    eager: Comparison
    compiled: Comparison
    error: float

    @property
    def ns(self) -> float:
        """Ours, a slice."""
        return 1e9 * median(self.eager.ours + self.compiled.ours) / self.case.slices

    @property
    def bytes_per_second(self) -> float:
        """Of reading x once."""
        return 4e9 / self.ns

    @property
    def best(self) -> float:
        """The ratio to the better of torch's two."""
        return min(self.eager.ratio, self.compiled.ratio)

    def verdicts(self, ceilings: Ceilings) -> dict[str, bool]:
        """What was asked for, and whether it was reached."""
        case, found = self.case, {}
        if case.best is not None:
            found[f">= {case.best:g}x best torch"] = self.best >= case.best
        if case.eager is not None:
            found[f">= {case.eager:g}x eager torch"] = self.eager.ratio >= case.eager
        if case.share is not None:
            found[f">= {case.share:.0%} of bandwidth"] = self.bytes_per_second >= case.share * ceilings.triad
        return found

    def record(self, ceilings: Ceilings) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.case.name,
            "shape": list(self.case.shape),
            "scheme": self.case.scheme,
            "ns_per_slice": self.ns,
            "bytes_per_second": self.bytes_per_second,
            "share_of_triad": self.bytes_per_second / ceilings.triad,
            "ratio_eager": self.eager.ratio,
            "ratio_compiled": self.compiled.ratio,
            "spread_eager": self.eager.spread,
            "spread_compiled": self.compiled.spread,
            "error": self.error,
            "verdicts": self.verdicts(ceilings),
        }


def measure(case: Case, *, seconds: float) -> Row:
    """Time one case against both peers, which have to agree with it first."""
    x = make(case)
    mine, eager, compiled = ours(case, x), theirs(case, x, compiled=False), theirs(case, x, compiled=True)
    expected = mine().double()
    error = max(
        float((run().double() - expected).abs().max() / expected.abs().max()) for run in (eager, compiled)
    )
    if not error < 1e-4:
        raise Disagreement(f"{case.name}: torch differs by {error:.1e}")
    timed = [compare(mine, run, seconds=seconds) for run in (eager, compiled)]
    return Row(case, timed[0], timed[1], error)


RESIDENT_TARGET = 0.10


def resident(rounds: int = 201) -> float:
    """Nanoseconds a slice on one thread with the path in the first cache: 4096 slices, less an empty call."""
    coefficients = torch.tensor(QUARTIC, dtype=torch.float64)
    factors = torch.tensor([[1 / DT, DT, 0.0]], dtype=torch.float64)
    out = torch.empty(1, 1, dtype=torch.float64)
    settings = False, 0.0, 1.0, 0, False, 0.0, 0, 0.0, False, 0

    def call(x: Tensor) -> Run:
        return lambda: _core.paths_action(x, None, None, coefficients, factors, out, *settings)

    runs = [call(torch.rand(1, beads)) for beads in (1, 4097)]
    empty, full = interleave(runs, [20, 20], rounds)
    return 1e9 * median(b - a for a, b in zip(empty, full, strict=True)) / 4096


def table(measured: list[Row], ceilings: Ceilings) -> Table:
    """The rows below each other."""
    columns = ["case", "shape", "ns/slice", "GB/s", "of triad", "x eager", "x compiled", "asked for"]
    made = Table("Actions of given paths, float32", columns)
    for row in measured:
        asked = ", ".join(
            f"{text} {'reached' if met else 'missed'}" for text, met in row.verdicts(ceilings).items()
        )
        made.rows.append(
            [
                row.case.name,
                "x".join(map(str, row.case.shape)),
                f"{row.ns:.3f}",
                f"{row.bytes_per_second / 1e9:.1f}",
                f"{row.bytes_per_second / ceilings.triad:.0%}",
                f"{row.eager.ratio:.1f}",
                f"{row.compiled.ratio:.1f}",
                asked,
            ]
        )
    return made


def shrunk(case: Case) -> Case:
    """A case of few paths, to try the code."""
    return Case(case.name, (min(case.shape[0], 64), *case.shape[1:]), case.kind, case.scheme)
