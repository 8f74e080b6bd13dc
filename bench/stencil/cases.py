"""What is timed: stencil chains by shape, steps, stencil, type, boundary; and what they should reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """What a row should reach; None where nothing is asked."""

    ratio: float | None = None  # of the best peer's time to ours
    rate: float | None = None  # 1e9 point-steps per second
    fma_share: float | None = None  # of the FMA ceiling


@dataclass(frozen=True)
class Case:
    """A chain of `steps` layers u <- relu(u + corr(u, taps_t)), x of `shape` (B, C, *S); taps per channel."""

    name: str
    shape: tuple[int, ...]
    steps: int = 27
    train: bool = False  # forward and backward, gradients to x and to all taps; else forward alone
    size: int = 3  # of the kernel, along each axis
    star: bool = True  # only the taps on the axes
    dtype: torch.dtype = torch.float32
    boundary: str = "zero"
    targets: Targets = field(default_factory=Targets)
    thorough: bool = False  # against every peer there is, not just the usual ones

    @property
    def dims(self) -> int:
        """Number of space axes."""
        return len(self.shape) - 2

    @property
    def points(self) -> list[tuple[int, ...]]:
        """Indices of the stencil's taps in the kernel, the centre first."""
        centre = (self.size // 2,) * self.dims
        every = product(range(self.size), repeat=self.dims)
        away = {point: sum(i != c for i, c in zip(point, centre, strict=True)) for point in every}
        return [centre, *(point for point, axes in away.items() if axes == 1 or (axes > 1 and not self.star))]

    @property
    def point_steps(self) -> int:
        """Points times steps."""
        return prod(self.shape) * self.steps

    @property
    def fma_per_point_step(self) -> int:
        """Multiply-adds that a point-step needs: one per tap, the skip being part of the centre tap.

        Training takes four times as many: forward, the same again to recompute the trajectory, the gradient
        to the input, the gradient to the taps. (Masks and maxima are not counted.)
        """
        return len(self.points) * (4 if self.train else 1)

    @property
    def bytes_per_point(self) -> int:
        """Least traffic of a call per point: read x, write y; training: also read x, grad_y, write grad_x."""
        return self.dtype.itemsize * (5 if self.train else 2)

    @property
    def label(self) -> str:
        """Shape, steps and whatever is unusual, in words."""
        stencil = f"{len(self.points)}-point" if self.star else "x".join([str(self.size)] * self.dims)
        dtype = str(self.dtype).removeprefix("torch.")
        boundary = "" if self.boundary == "zero" else f" {self.boundary}"
        return f"[{','.join(map(str, self.shape))}] T={self.steps} {stencil} {dtype}{boundary}"

    def shrunk(self, points: int, steps: int) -> Case:
        """The same on about so many points and steps at most: a smaller batch, then planes. No targets."""
        batch, channels, *space = self.shape
        batch = max(1, min(batch, points // (channels * prod(space))))
        while batch * channels * prod(space) > points and max(space) > 8:
            space = [max(8, n // 2) for n in space]
        shape = (batch, channels, *space)
        return replace(self, shape=shape, steps=min(self.steps, steps), targets=Targets())


@dataclass(frozen=True)
class Problem:
    """The arrays of a case: x and grad_y (B, C, *S), taps (T, C, *K) in the compute type, no skip."""

    case: Case
    x: Tensor
    taps: Tensor
    grad_y: Tensor

    @property
    def merged(self) -> Tensor:
        """Taps with the skip added to the centre, in the type of x: the weights of a plain convolution."""
        merged = self.taps.clone()
        merged[last(self.case.points[0])] += 1
        return merged.to(self.x.dtype)

    def on_stencil(self, taps: Tensor) -> Tensor:
        """Of (T, C, *K) the entries on the stencil, (T, C, P)."""
        return torch.stack([taps[last(point)] for point in self.case.points], -1)


def last(indices: Iterable[int | slice]) -> tuple[Any, ...]:
    """An index into the last axes, all before them kept."""
    return (..., *indices)


def make(case: Case, seed: int = 0, device: str = "cpu") -> Problem:
    """Random arrays for a case: x and grad_y normal, taps small, of both signs, with sum 0.

    With sum 0 a step keeps the mean (but for the ReLU and the edge), so that values neither blow up nor sink
    among the subnormal numbers, which would slow some processors. The numbers are the same on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    compute = torch.float64 if case.dtype == torch.float64 else torch.float32

    def normal() -> Tensor:
        return torch.randn(case.shape, generator=generator, dtype=compute).to(case.dtype)

    centre, *neighbours = case.points
    weights = (
        torch.rand(case.steps, case.shape[1], len(neighbours), generator=generator, dtype=compute) * 1.3 - 0.3
    )
    weights *= 0.6 / weights.abs().sum(-1, keepdim=True)
    taps = torch.zeros(case.steps, case.shape[1], *(case.size,) * case.dims, dtype=compute)
    for point, weight in zip(neighbours, weights.unbind(-1), strict=True):
        taps[last(point)] = weight
    taps[last(centre)] = -weights.sum(-1)
    return Problem(case, *(tensor.to(device) for tensor in (normal(), taps, normal())))


IMAGES, DEPTHWISE, PLANE = (2048, 1, 28, 28), (64, 32, 28, 28), (1, 1, 2048, 2048)

NOT_BEHIND = Targets(ratio=1)  # where plain kernels will do

DESIGN = [
    Case("design/forward/images", IMAGES, targets=Targets(25, 10, 0.5), thorough=True),
    Case("design/forward/depthwise", DEPTHWISE, targets=Targets(2.5, 10), thorough=True),
    Case("design/forward/plane", PLANE, targets=Targets(20, 8), thorough=True),
    Case("design/train/images", IMAGES, train=True, targets=Targets(30, 3), thorough=True),
    Case("design/train/depthwise", DEPTHWISE, train=True, targets=Targets(6, 3), thorough=True),
    Case("design/train/plane", PLANE, train=True, targets=Targets(30, 3), thorough=True),
]


def sweep() -> list[Case]:
    """How cost grows: with the size of images at the same number of points, with steps, stencil, type ..."""
    return [case for train in (False, True) for case in _sweep(train)]


def _sweep(train: bool) -> Iterator[Case]:
    kind, points = "train" if train else "forward", 2**20

    def case(name: str, shape: tuple[int, ...] = (points // 32**2, 1, 32, 32), **changes: Any) -> Case:
        return Case(f"sweep/{kind}/{name}", shape, train=train, **changes)

    for n in (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096):
        if n <= 1024 or not train:
            yield case(f"size/{n}", (max(1, points // n**2), 1, n, n))
    for steps in (1, 3, 9, 100):
        yield case(f"steps/{steps}", steps=steps)
    for size in (3, 5, 7):
        yield case(f"kernel/{size}", size=size, star=False, targets=NOT_BEHIND if size == 7 else Targets())
    for dtype in (torch.float64, torch.bfloat16):
        yield case(f"dtype/{str(dtype).removeprefix('torch.')}", dtype=dtype)
    for boundary in ("periodic", "reflect", "replicate"):
        yield case(f"boundary/{boundary}", boundary=boundary)
    yield case("axes/1", (1024, 1, 1024))
    yield case("axes/3", (32, 1, 32, 32, 32), targets=NOT_BEHIND)
    yield case("channels/16", (64, 16, 32, 32))


def rows() -> list[Case]:
    """Every row of the report."""
    return [*DESIGN, *sweep()]
