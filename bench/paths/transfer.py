"""Sums over lattice paths beside what a user would write in torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from qcore.paths import transfer

from ..ceiling import Ceilings
from ..table import Table
from ..timing import Comparison, Disagreement, compare

QUICK_SITES, QUICK_STEPS = 256, 4
PEER_STEPS = 20  # at most so many are asked of a peer; times are compared per step

NOTE = """\
G taps/s: 1e9 products per second, median (complex ones count once). Ratio: of times per step, median over
alternating pairs. FMA share: of the multiply-adds that compiled loops reach on this machine in the same run.
`linear`: our own run on numbers, whose time a run on logarithms is held against."""


@dataclass(frozen=True)
class Case:
    """What is timed."""

    name: str
    semiring: str = "real"
    dtype: str = "float32"
    batch: int = 16
    sites: int = 4096
    kernel: int = 33
    steps: int = 100
    gates: bool = False
    train: bool = False
    asked: tuple[tuple[str, float], ...] = ()
    """Peers and how many times faster than these."""
    gtaps_per_core: float | None = None

    @property
    def taps(self) -> float:
        """Products of one step."""
        return float(self.batch * self.sites * self.kernel)

    @property
    def operations(self) -> int:
        """Multiply-adds of a product."""
        return (4 if self.semiring == "complex" else 1) * (3 if self.train else 1)

    def shrunk(self) -> Case:
        """So small that it only shows that it runs."""
        return replace(self, sites=min(self.sites, QUICK_SITES), steps=QUICK_STEPS, batch=min(self.batch, 2))


def rows() -> list[Case]:
    """All cases."""
    conv, lse = (("torch conv1d", 10.0),), (("torch logsumexp", 30.0), ("linear", 1 / 1.6))
    return [
        Case("paths/transfer/f32", asked=conv, gtaps_per_core=20.0),
        Case("paths/transfer/f64", dtype="float64"),
        Case("paths/transfer/gated", gates=True),
        Case("paths/transfer/small", batch=4096, sites=28, kernel=3),
        Case("paths/transfer/long", batch=1, sites=1_000_000, steps=10),
        Case("paths/transfer/complex", semiring="complex", dtype="complex64"),
        Case("paths/transfer/log", semiring="log", asked=lse),
        Case("paths/transfer/log-f64", semiring="log", dtype="float64"),
        Case("paths/transfer/max", semiring="max"),
        Case("paths/transfer/train", gates=True, train=True, steps=30),
    ]


class Problem(NamedTuple):
    """Arguments of a case; numbers, whose logarithms the log semirings take."""

    psi: Tensor
    taps: Tensor
    gates: Tensor | None


def make(case: Case, device: str = "cpu") -> Problem:
    """A spread-out state, a normalised bell of taps."""
    generator = torch.Generator().manual_seed(0)
    dtype = getattr(torch, case.dtype)
    real = torch.float64 if dtype in (torch.float64, torch.complex128) else torch.float32
    psi = torch.rand(case.batch, case.sites, generator=generator, dtype=real) + 0.1
    bell = torch.softmax(-torch.linspace(-2, 2, case.kernel, dtype=real).square(), 0)
    gates = None
    if case.gates:
        gates = 0.5 + torch.rand(case.sites, generator=generator, dtype=real)
    made = psi.to(dtype), bell.to(dtype), None if gates is None else gates.to(dtype)
    return Problem(*(None if tensor is None else tensor.to(device) for tensor in made))


Run = Callable[[], Any]
Step = Callable[[Tensor, Tensor], Tensor]


def ours(case: Case, problem: Problem) -> Run:
    """qcore, all steps in one call."""
    psi, taps, gates = problem
    if case.semiring in ("log", "max"):
        psi, taps, gates = psi.log(), taps.log(), None if gates is None else gates.log()

    def forward(p: Tensor, t: Tensor) -> Tensor:
        out: Tensor = transfer(p, t, gates=gates, steps=case.steps, semiring=case.semiring, method="direct")
        return out

    return _trained(forward, psi, taps) if case.train else lambda: forward(psi, taps)


def _trained(forward: Step, psi: Tensor, taps: Tensor) -> Run:
    leaves = [psi.clone().requires_grad_(), taps.clone().requires_grad_()]
    weights = torch.ones_like(psi)

    def run() -> Any:
        return torch.autograd.grad(forward(*leaves), leaves, weights)

    return run


def peers_of(case: Case) -> dict[str, Callable[[Case, Problem], Run]]:
    """The strongest things to write instead."""
    if case.semiring == "log":
        return {"linear": _linear, "torch logsumexp": windows(logsumexp)}
    if case.semiring == "max":
        return {"torch amax": windows(lambda window: window.amax(-1))}
    if case.semiring == "complex":
        return {"torch slices": _loop(_slices, False), "torch slices compiled": _loop(_slices, True)}
    return {
        "torch conv1d": _loop(_conv, False),
        "torch conv1d compiled": _loop(_conv, True),
        "torch slices compiled": _loop(_slices, True),
    }


def _linear(case: Case, problem: Problem) -> Run:
    return ours(replace(case, semiring="real"), problem)


def _conv(psi: Tensor, taps: Tensor) -> Tensor:
    return F.conv1d(psi.unsqueeze(1), taps.reshape(1, 1, -1), padding=taps.shape[0] // 2).squeeze(1)


def _slices(psi: Tensor, taps: Tensor) -> Tensor:
    half = taps.shape[0] // 2
    padded = F.pad(psi, (half, half))
    return sum(
        (taps[k] * padded[:, k : k + psi.shape[1]] for k in range(taps.shape[0])), torch.zeros_like(psi)
    )


def logsumexp(window: Tensor) -> Tensor:
    """Over the taps."""
    return torch.logsumexp(window, -1)


def _loop(step: Step, compiled: bool) -> Callable[[Case, Problem], Run]:
    def build(case: Case, problem: Problem) -> Run:
        psi, taps, gates = problem
        one = torch.compile(step, dynamic=False) if compiled else step

        def forward(p: Tensor, t: Tensor) -> Tensor:
            for _ in range(case.steps):
                p = one(p, t)
                p = p if gates is None else p * gates
            return p

        return _trained(forward, psi, taps) if case.train else lambda: forward(psi, taps)

    return build


def windows(reduce: Callable[[Tensor], Tensor], compiled: bool = False) -> Callable[[Case, Problem], Run]:
    """A loop over steps of logarithms: `reduce` of every site's window plus the taps."""

    def build(case: Case, problem: Problem) -> Run:
        psi, taps = problem.psi.log(), problem.taps.log()
        half = case.kernel // 2

        def step(p: Tensor) -> Tensor:
            return reduce(F.pad(p, (half, half), value=float("-inf")).unfold(-1, case.kernel, 1) + taps)

        one = torch.compile(step, dynamic=False) if compiled else step

        def run() -> Tensor:
            p = psi
            for _ in range(case.steps):
                p = one(p)
            return p

        return run

    return build


@dataclass
class Row:
    """A case as measured, seconds per step."""

    case: Case
    matches: dict[str, Comparison]
    failed: dict[str, str]

    @property
    def seconds(self) -> float:
        """Of ours, a step."""
        return median(median(match.ours) for match in self.matches.values())

    @property
    def gtaps(self) -> float:
        """1e9 products per second."""
        return self.case.taps / self.seconds / 1e9

    def fma_share(self, ceilings: Ceilings) -> float:
        """Of the multiply-adds the machine can do; a sum of logarithms counts as one of numbers."""
        double = self.case.dtype in ("float64", "complex128")
        ceiling = ceilings.fma(torch.float64 if double else torch.float32)
        return self.gtaps * 1e9 * self.case.operations / ceiling

    def verdicts(self, threads: int) -> list[str]:
        """How each target came out."""
        made = []
        for peer, ratio in self.case.asked:
            found = self.matches[peer].ratio if peer in self.matches else 0.0
            made.append(f"{ratio:.3g}x {peer} {'reached' if found >= ratio else 'missed'}")
        if self.case.gtaps_per_core is not None:
            reached = self.gtaps / threads >= self.case.gtaps_per_core
            made.append(f"{self.case.gtaps_per_core:g} G taps/s/core {'reached' if reached else 'missed'}")
        return made

    def record(self, ceilings: Ceilings) -> dict[str, Any]:
        """All of it, for JSON."""
        peers = [
            {"name": name, "ratio": m.ratio, "ratio_quartiles": m.spread, "seconds_per_step": m.theirs}
            for name, m in self.matches.items()
        ]
        return {
            "name": self.case.name,
            "case": asdict(self.case),
            "gtaps_per_second": self.gtaps,
            "fma_share": self.fma_share(ceilings),
            "peers": peers,
            "failed": self.failed,
            "asked": self.verdicts(ceilings.threads),
        }


def measure(case: Case, *, seconds: float = 3.0, say: Callable[[str], None] = lambda line: None) -> Row:
    """Time a case in turn with each of its peers.

    Args:
        case: what to time.
        seconds: rough length of each comparison.
        say: told what is going on.

    Raises:
        Disagreement: a peer's result is not qcore's.
    """
    problem = make(case)
    few = replace(case, steps=min(case.steps, PEER_STEPS))
    mine, answer = ours(case, problem), ours(few, problem)()
    row = Row(case, {}, {})
    for name, build in peers_of(case).items():
        say(f"{case.name}: {name}")
        peer = case if name == "linear" else few
        try:
            theirs = build(peer, problem)
            got = theirs()
        except Exception as error:  # what this torch does not compile
            row.failed[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            continue
        if name != "linear":
            check(name, got, answer)
        timed = compare(mine, theirs, seconds=seconds, sample=min(0.02, seconds / 20))
        ours_each = [t / case.steps for t in timed.ours]
        row.matches[name] = Comparison(ours_each, [t / peer.steps for t in timed.theirs])
    return row


def check(name: str, got: Any, answer: Any) -> None:
    """Refuse a peer whose result is not qcore's.

    Raises:
        Disagreement: with the largest difference.
    """
    for a, b in zip(*((x if isinstance(x, tuple) else (x,)) for x in (got, answer)), strict=True):
        if not torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max())):
            raise Disagreement(f"{name}: largest difference {float((a - b).abs().max())}")


def table(measured: list[Row], ceilings: Ceilings) -> Table:
    """All rows."""
    columns = ("case", "G taps/s", "FMA share", "against", "asked")
    lines = []
    for row in measured:
        against = ", ".join(f"{m.ratio:.1f}x {n}" for n, m in row.matches.items())
        asked = "; ".join(row.verdicts(ceilings.threads))
        lines.append((row.case.name, f"{row.gtaps:.1f}", f"{row.fma_share(ceilings):.0%}", against, asked))
    return Table("Sums over lattice paths", columns, lines, NOTE)
