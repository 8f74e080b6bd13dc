"""The Metropolis sweeps in torch, for potentials that are functions of torch: the kernel's moves and numbers.

Slow but plain: a move of all chains, and of all beads that don't touch, is a few tensor operations.
For a polynomial in double precision the chains follow the kernel's until rounding decides otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from qcore import _core
from qcore._ops.paths_random import draws, purpose
from qcore._ops.paths_samplers import MetropolisSettings

from ._potential import Potential, evaluate

ALL = 2**32 - 1  # the word that stands for all chains, or all sites
OFFSET_SLOT = 0xFFFF
PAIRS = {torch.float32: 2, torch.float64: 1}  # pairs of uniforms, or of normals, of a counter


class TorchAction:
    """U = s V + c (s V')^2 at beads or midpoints, and what the energy estimators add up."""

    def __init__(self, potential: Potential, scale: float, correction: float) -> None:
        self.potential, self.scale, self.correction = potential, scale, correction

    def value(self, x: Tensor) -> Tensor:
        """U(x)."""
        if self.correction == 0:
            with torch.no_grad():
                return self.scale * evaluate(self.potential, x)
        value, slope = self._with_slope(x)
        return (self.scale * value + self.correction * (self.scale * slope) ** 2).detach()

    def energies(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is averaged for the virial and for the thermodynamic energy, times beta."""
        value, slope = self._with_slope(x)
        u, force = self.scale * value, self.scale * slope
        thermodynamic = u + 3 * self.correction * force**2
        if self.correction != 0:
            (curvature,) = torch.autograd.grad(
                slope.sum(), self._x, allow_unused=True, materialize_grads=True
            )
            force = force + 2 * self.correction * force * self.scale * curvature
        return (thermodynamic + 0.5 * self._x * force).detach(), thermodynamic.detach()

    def _with_slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            self._x = x.detach().requires_grad_()
            value = evaluate(self.potential, self._x)
            if not value.requires_grad:  # a constant
                return value, torch.zeros_like(x)
            (slope,) = torch.autograd.grad(value.sum(), self._x, create_graph=self.correction != 0)
            if not slope.requires_grad and self.correction != 0:
                slope = slope + 0 * self._x
        return value, slope


class TorchChains:
    """The chains of one call."""

    def __init__(
        self,
        settings: MetropolisSettings,
        potential: Potential,
        x: Tensor,
        step: Tensor,
        counts: Tensor,
        histogram: Tensor | None,
        warmup: bool,
    ) -> None:
        self.s, self.x, self.step, self.counts, self.histogram = settings, x, step, counts, histogram
        self.warmup = warmup
        self.action = TorchAction(potential, settings.potential_scale, settings.correction)
        self.beads, self.chains = x.shape
        self.links = self.beads - 1 if settings.pinned else self.beads
        self.sweep = 0

    def make(self, index: int, move: str) -> tuple[int, Tensor]:
        """Proposals made per chain, and how many were accepted (chains,)."""
        if move == "single":
            return self._single(index)
        if move in ("staging", "bisection"):
            return self._segments(index, move == "bisection")
        return self._whole(index, move == "reflection")

    def tune(self, k: int, proposals: int, accepted: Tensor) -> None:
        """Robbins and Monro, as the kernel does."""
        if proposals == 0:
            return
        gain = 2 / (1 + self.sweep) ** 0.6
        step = self.step[k] * ((accepted / proposals - 0.5) * gain).exp()
        self.step[k] = step.clamp(1e-6, 1e6).to(self.x.dtype)

    def measure(self) -> Tensor:
        """(observables, chains) float64."""
        s, x = self.s, self.x
        before = x.roll(1, 0)
        squares = (x * x).double()
        if not s.pinned:
            virial, thermodynamic = self.action.energies((x + before) * 0.5 if s.midpoint else x)
            kinetic = 0.5 * s.link * ((x - before) ** 2).double()
            rows = [
                virial.double().sum(0),
                0.5 * self.beads + (thermodynamic.double() - kinetic).sum(0),
                squares.mean(0),
                (squares**2).mean(0),
                *((x * x.roll(-lag, 0)).double().mean(0) for lag in s.lags),
            ]
        else:
            middle = self.links // 2
            if s.midpoint:
                action = self.action.value((x[1:] + x[:-1]) * 0.5).double().sum(0)
            else:
                value = self.action.value(x).double()
                action = value.sum(0) - 0.5 * (value[0] + value[-1])
            rows = [
                action,
                squares[middle],
                squares[1:-1].mean(0),
                (squares[1:-1] ** 2).mean(0),
                *((x[middle] * x[middle + lag]).double() for lag in s.lags),
            ]
        if self.histogram is not None:
            inner = x[1:-1] if s.pinned else x
            bins = (inner.double() - s.histogram[0]) * s.histogram[1]
            inside = bins[(bins >= 0) & (bins < len(self.histogram))].long()
            self.histogram += torch.bincount(inside, minlength=len(self.histogram))
        return torch.stack(rows)

    # --- moves ---

    def _single(self, index: int) -> tuple[int, Tensor]:
        first = 1 if self.s.pinned else 0
        moving = self.beads - 2 * first
        per, accepted = PAIRS[self.x.dtype], torch.zeros(self.chains, dtype=torch.float64)
        even = (moving + 1) // 2
        blocks = -(-moving // per)
        numbers = [
            self._draws("uniform", index, hit, blocks).reshape(-1, 2, self.chains)
            for hit in range(self.s.hits)
        ]
        order = torch.cat([torch.arange(0, moving, 2), torch.arange(1, moving, 2)]) + first
        groups = [range(even), range(even, moving)]
        if not self.s.pinned and moving % 2:  # the last even bead is the first one's neighbour
            groups = [range(even - 1), range(even - 1, even), range(even, moving)]
        for group in groups:
            sites, q = order[group.start : group.stop], slice(group.start, group.stop)
            for u in numbers:
                accepted += self._update(sites, u[q, 0], u[q, 1])
        return moving * self.s.hits, accepted

    def _update(self, sites: Tensor, place: Tensor, chance: Tensor) -> Tensor:
        x = self.x[sites]
        before, after = self.x[(sites - 1) % self.beads], self.x[(sites + 1) % self.beads]
        new = x + self.step[0].to(x.dtype) * (place - 0.5)
        value = self.action.value
        if self.s.midpoint:
            change = value((new + before) * 0.5) - value((x + before) * 0.5)
            change = change + value((new + after) * 0.5) - value((x + after) * 0.5)
        else:
            change = value(new) - value(x)
        change = change + self.s.link * (new - x) * ((new + x) - (before + after))
        yes = _accept(chance, change)
        self.x[sites] = torch.where(yes, new, x)
        return yes.double().sum(0)

    def _segments(self, index: int, halves: bool) -> tuple[int, Tensor]:
        accepted = torch.zeros(self.chains, dtype=torch.float64)
        number = 0
        for number, (begin, length) in enumerate(self._places(index, halves), 1):
            grow = self._bisect if halves else self._stage
            accepted += grow(index, number - 1, begin, length).double()
        return number, accepted

    def _places(self, index: int, halves: bool) -> Iterator[tuple[int, int]]:
        """Where segments begin and their lengths."""
        s, below = self.s, self.s.segment if self.s.pinned else self.links
        word = _core.philox([purpose("metropolis", index << 16 | OFFSET_SLOT), ALL, self.sweep, ALL], s.seed)[
            0
        ]
        offset = word * below >> 32
        if not s.pinned:
            for k in range(self.links // s.segment):
                yield (offset + k * s.segment) % self.links, s.segment
            return
        if not halves and offset >= 2:
            yield 0, offset
        begin = offset
        while begin + s.segment <= self.links:
            yield begin, s.segment
            begin += s.segment
        if not halves and self.links - begin >= 2:
            yield begin, self.links - begin

    def _stage(self, index: int, number: int, begin: int, length: int) -> Tensor:
        old = self._segment(begin, length)
        z, new = self._normals(index, number, length - 1), [old[0]]
        for k in range(1, length):
            left = length - k
            sigma = math.sqrt(left / ((left + 1) * self.s.link))
            new.append(new[-1] + (old[-1] - new[-1]) / (left + 1) + sigma * z[k - 1])
        grown = torch.stack([*new, old[-1]])
        if self.s.midpoint:
            values = [self.action.value((path[1:] + path[:-1]) * 0.5) for path in (grown, old)]
        else:
            values = [self.action.value(path[1:-1]) for path in (grown, old)]
        chance = self._draws("uniform", index, 1, 1, site=number)[0, 0]
        yes = _accept(chance, (values[0] - values[1]).sum(0))
        return self._take(begin, length, grown, yes)

    def _bisect(self, index: int, number: int, begin: int, length: int) -> Tensor:
        old = self._segment(begin, length)
        z, grown = self._normals(index, number, length - 1), old.clone()
        total, before = torch.zeros_like(old[0]), torch.zeros_like(old[0])
        yes = torch.ones(self.chains, dtype=torch.bool)
        h, drawn, level, per = length // 2, 0, 0, 2 * PAIRS[self.x.dtype]
        while h >= 1:
            k = torch.arange(h, length, 2 * h)
            sigma = math.sqrt(h / (2 * self.s.link))
            grown[k] = (grown[k - h] + grown[k + h]) * 0.5 + sigma * z[drawn : drawn + len(k)]
            drawn += len(k)
            total = total + (self.action.value(grown[k]) - self.action.value(old[k])).sum(0)
            chance = self._draws("uniform", index, 1 + level // per, 1, site=number)[0, level % per]
            yes &= _accept(chance, total * h - before)
            before, h, level = total * h, h // 2, level + 1
        return self._take(begin, length, grown, yes)

    def _whole(self, index: int, reflected: bool) -> tuple[int, Tensor]:
        u = self._draws("uniform", index, 0, 1)[0]
        shift = self.step[1].to(self.x.dtype) * (u[0] - 0.5)
        place = (self.x + self.x.roll(1, 0)) * 0.5 if self.s.midpoint else self.x
        moved = -place if reflected else place + shift
        change = (self.action.value(moved) - self.action.value(place)).sum(0)
        yes = _accept(u[1], change)
        self.x.copy_(torch.where(yes, -self.x if reflected else self.x + shift, self.x))
        return 1, yes.double()

    # --- parts ---

    def _draws(self, kind: str, index: int, slot: int, sites: int, *, site: int = 0) -> Tensor:
        return draws(
            kind,  # type: ignore[arg-type]
            purpose=purpose("metropolis", index << 16 | slot),
            sweep=self.sweep,
            chains=self.chains,
            seed=self.s.seed,
            site=site,
            sites=sites,
            dtype=self.x.dtype,
        )

    def _normals(self, index: int, number: int, count: int) -> Tensor:
        per = 2 * PAIRS[self.x.dtype]
        blocks = -(-self.s.segment // per)
        z = self._draws("normal", index, 0, -(-count // per), site=number * blocks)
        return z.reshape(-1, self.chains)[:count]

    def _segment(self, begin: int, length: int) -> Tensor:
        return self.x[(torch.arange(length + 1) + begin) % self.beads]

    def _take(self, begin: int, length: int, grown: Tensor, yes: Tensor) -> Tensor:
        inner = (torch.arange(1, length) + begin) % self.beads
        self.x[inner] = torch.where(yes, grown[1:-1], self.x[inner])
        return yes


def torch_sweeps(
    settings: MetropolisSettings,
    potential: Potential,
    *,
    x: Tensor,
    step: Tensor,
    counts: Tensor,
    histogram: Tensor | None,
    first: int,
    sweeps: int,
    warmup: bool,
) -> tuple[Tensor, Tensor]:
    """What `metropolis_sweeps` does, for any potential."""
    chains = TorchChains(settings, potential, x, step, counts, histogram, warmup)
    taken, made = torch.zeros(len(settings.moves), x.shape[1], dtype=torch.float64), [0] * len(settings.moves)
    rows = []
    for sweep in range(first, first + sweeps):
        chains.sweep = sweep
        for index, move in enumerate(settings.moves):
            proposals, accepted = chains.make(index, move)
            taken[index] += accepted
            made[index] += proposals
            if warmup and move in ("single", "displacement"):
                chains.tune(0 if move == "single" else 1, proposals, accepted)
        if (sweep + 1) % settings.every == 0:
            rows.append(chains.measure())
    if not warmup:
        counts[0] += torch.tensor(made, dtype=torch.float64)[:, None]
        counts[1] += taken
    shape = (0, 4 + len(settings.lags), x.shape[1])
    measured = torch.stack(rows) if rows else torch.empty(shape, dtype=torch.float64)
    return measured, taken[0] / max(made[0], 1)


def _accept(chance: Tensor, change: Tensor) -> Tensor:
    return chance < (-change.clamp(min=0)).exp()
