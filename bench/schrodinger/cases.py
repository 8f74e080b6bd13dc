"""What is timed: implicit Schroedinger steps by batch, grid, type, orders; and what they should reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import pi, prod
from typing import Any

import torch
from torch import Tensor

SPACING, DT = 0.1, 0.02  # dt kappa / hbar = 1: neither trivially diagonal nor badly conditioned
RESOLVED = 128  # points along an axis from which split steps solve the same equation to 1e-3
SMALL_VOLUME = 16  # along each axis
PREFIX = "schrodinger/"


@dataclass(frozen=True)
class Targets:
    """What a row should reach; None or empty where nothing is asked."""

    ratios: tuple[tuple[str, float], ...] = ()  # peer, times it should take longer
    ns: float | None = None  # per point and step
    backward: float | None = None  # times the forward's duration that a gradient may take


@dataclass(frozen=True)
class Case:
    """`steps` steps of `batch` systems on a grid of `space` points, all with the same Hamiltonian."""

    name: str
    space: tuple[int, ...]
    batch: int = 1
    steps: int = 100
    dtype: torch.dtype = torch.complex128
    arithmetic: str = "auto"
    boundary: str = "dirichlet"
    time_order: int = 2
    space_order: int = 2
    driven: bool = False  # the potential is another in every step
    raw: bool = False  # through the operator rather than the public function
    targets: Targets = field(default_factory=Targets)
    thorough: bool = False  # against every peer there is, not just the usual ones

    @property
    def points(self) -> int:
        """Of all systems."""
        return self.batch * prod(self.space)

    @property
    def point_steps(self) -> int:
        """Points times steps."""
        return self.points * self.steps

    @property
    def substeps(self) -> int:
        """Of a step, each between phases of the potential: five of Strang make order 4 on several axes."""
        return 5 if len(self.space) > 1 and self.time_order == 4 else 1

    @property
    def compute(self) -> torch.dtype:
        """The real type of the arithmetic."""
        narrow = self.dtype == torch.complex64 and self.arithmetic == "fast"
        return torch.float32 if narrow else torch.float64

    @property
    def operations_per_point_step(self) -> int:
        """Real multiply-adds that a point-step takes at least.

        A stage with known factors: y = r (psi - y'), phi = y - r phi', psi' = s phi - psi, twelve in real
        numbers (s is imaginary). On several axes also a phase, four.
        """
        axes = len(self.space)
        return self.substeps * (12 * self.time_order // 2 * axes + (4 if axes > 1 else 0))

    @property
    def bytes_per_point(self) -> int:
        """Least traffic of a call per point: read psi, write psi."""
        return 2 * self.dtype.itemsize

    @property
    def label(self) -> str:
        """Systems, grid, steps and whatever is unusual, in words."""
        words = [f"{self.batch} x" if self.batch > 1 else "", "x".join(map(str, self.space))]
        words += [f"T={self.steps}", str(self.dtype).removeprefix("torch.")]
        words += [self.arithmetic] * (self.arithmetic != "auto")
        orders = self.time_order, self.space_order
        words += [f"order {orders[0]}/{orders[1]}"] * (orders != (2, 2))
        words += [self.boundary] * (self.boundary != "dirichlet")
        words += ["V(t)"] * self.driven + ["operator"] * self.raw
        return " ".join(word for word in words if word)

    def shrunk(self, points: int, steps: int) -> Case:
        """The same on about so many points and steps at most: a smaller batch, then grid. No targets."""
        space = self.space
        if len(space) > 1:
            space = tuple(min(n, RESOLVED if len(space) == 2 else SMALL_VOLUME) for n in space)
        elif space[0] > points:
            space = (points,)
        batch = max(1, min(self.batch, points // prod(space)))
        return replace(self, space=space, batch=batch, steps=min(self.steps, steps), targets=Targets())


@dataclass(frozen=True)
class Problem:
    """The arrays of a case: psi (B, *S) complex; potential (*S), driven (steps, 1, *S). hbar = m = 1."""

    case: Case
    psi: Tensor
    potential: Tensor

    @property
    def kappa(self) -> float:
        """hbar^2 / (2 m h^2)."""
        return 0.5 / SPACING**2

    def at(self, step: int) -> Tensor:
        """The potential in the middle of a step, (*S)."""
        return self.potential[step, 0] if self.case.driven else self.potential


@dataclass(frozen=True)
class Runner:
    """What is timed, and how its outcome is read, psi (B, *S)."""

    run: Callable[[], Any]
    read: Callable[[Any], Tensor] = lambda psi: psi


def make(case: Case, device: str = "cpu") -> Problem:
    """Packets of several momenta in a lattice.

    Everything scales with the grid but its spacing. The packets' tails stay above 1e-13 of their maxima along
    an axis: subnormal numbers would slow some processors.
    """
    with torch.device(device):
        return _made(case)


def _made(case: Case) -> Problem:
    momenta = torch.linspace(0.0, 1.0, case.batch, dtype=torch.float64)
    psi = torch.ones(case.batch, *(1,) * len(case.space), dtype=torch.complex128)
    potential = torch.zeros(case.space, dtype=torch.float64)
    for axis, n in enumerate(case.space):
        own = [n if other == axis else 1 for other in range(len(case.space))]
        j = torch.arange(n, dtype=torch.float64)
        x = (j - (n - 1) / 2) * SPACING
        width = n * SPACING / 15
        angle = momenta[:, None] * x
        packet = torch.polar(torch.exp(-0.5 * (x / width) ** 2).expand_as(angle), angle)
        psi = psi * packet.reshape(case.batch, *own)
        potential = potential + 0.25 * (1 + torch.cos(2 * pi * max(1, n // 80) * j / n)).reshape(own)
    if case.driven:
        times = (torch.arange(case.steps, dtype=torch.float64) + 0.5) * DT
        swing = (1 + 0.5 * torch.sin(3 * times)).reshape(-1, *(1,) * (1 + len(case.space)))
        potential = swing * potential
    return Problem(case, psi.to(case.dtype).contiguous(), potential)


C64 = torch.complex64
GTTRS, BANDED, FFT = "LAPACK gttrs", "scipy solve_banded", "torch.fft split step"


def design() -> list[Case]:
    """The rows with numbers to reach."""

    def case(name: str, space: tuple[int, ...], targets: Targets, **changes: Any) -> Case:
        return Case(f"{PREFIX}design/{name}", space, targets=targets, thorough=True, **changes)

    many: dict[str, Any] = {"space": (1024,), "batch": 1024, "steps": 1000}
    return [
        case("systems", targets=Targets(((GTTRS, 40), (BANDED, 60)), 0.35), **many),
        case("systems/complex64", targets=Targets(ns=0.30), dtype=C64, **many),
        case("systems/complex64-fast", targets=Targets(ns=0.18), dtype=C64, arithmetic="fast", **many),
        case("one/1024", (1024,), Targets(((BANDED, 8),)), steps=1000),
        case("one/1000000", (10**6,), Targets(((BANDED, 15),)), steps=20),
        case("plane", (1024, 1024), Targets(((FFT, 3),)), steps=20),
    ]


def sweep() -> list[Case]:
    """How cost grows: with the grid at the same number of points, with the batch, orders, boundary ..."""
    made: list[Case] = []

    def case(name: str, space: tuple[int, ...] = (1024,), batch: int = 1024, **changes: Any) -> None:
        made.append(Case(f"{PREFIX}sweep/{name}", space, batch, **changes))

    for n in (16, 64, 256, 1024, 4096, 16384, 65536):
        case(f"points/{n}", (n,), 2**20 // n)
    for batch in (1, 4, 16, 64, 256, 1024, 4096):
        case(f"batch/{batch}", batch=batch)
    for order in (4, 6, 8):
        case(f"time-order/{order}", time_order=order)
    for order in (4, 6):
        case(f"space-order/{order}", space_order=order)
    case("periodic", boundary="periodic")
    case("driven", driven=True)
    case("driven/one", batch=1, driven=True)
    case("operator", raw=True)
    case("complex64", dtype=C64)
    case("complex64-fast", dtype=C64, arithmetic="fast")
    for n in (128, 512, 2048):
        case(f"plane/{n}", (n, n), 1, steps=20)
    case("plane/periodic", (1024, 1024), 1, steps=20, boundary="periodic")
    case("plane/time-order/4", (1024, 1024), 1, steps=10, time_order=4)
    case("volume", (128, 128, 128), 1, steps=10)
    return made


def gradients() -> list[Case]:
    """Runs whose gradient with respect to the potential is timed against the run itself."""

    def case(name: str, targets: Targets = Targets(), **changes: Any) -> Case:
        settings: dict[str, Any] = {"space": (1024,), "batch": 1024, "steps": 100, **changes}
        return Case(f"{PREFIX}{name}", targets=targets, **settings)

    return [
        case("design/gradient", Targets(backward=2.5), steps=1000),
        case("sweep/gradient/complex64", dtype=C64),
        case("sweep/gradient/driven", driven=True),
        case("sweep/gradient/time-order/4", time_order=4),
        case("sweep/gradient/one", batch=1, steps=1000),
        case("sweep/gradient/plane", space=(512, 512), batch=1, steps=20),
    ]


def rows() -> list[Case]:
    """Every row of forward runs."""
    return [*design(), *sweep()]
