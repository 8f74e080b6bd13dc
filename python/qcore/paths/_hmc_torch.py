"""Trajectories of `hmc` in torch, for potentials that are functions: the kernel's, up to rounding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qcore._ops.paths_dynamics import HMC, PATH_OBSERVABLES, PathModel, Trajectories
from qcore._ops.paths_random import draws

from ._potential import Potential, evaluate


def torch_trajectories(
    potential: Potential,
    model: PathModel,
    run: Trajectories,
    lags: tuple[int, ...],
    x: Tensor,
    tuning: Tensor,
    first: int,
    count: int,
    tune: bool,
) -> tuple[Tensor, Tensor]:
    """As qcore._ops.paths_dynamics.hmc_paths, of which `x` and `tuning` are changed."""
    chains, slices = x.shape
    motion = _Motion(potential, model, x)
    measured = torch.empty(count, len(PATH_OBSERVABLES) + len(lags), chains, dtype=torch.float64)
    taken = torch.zeros(chains, dtype=torch.float64)
    action, values = motion.sums(x)
    for k in range(count):
        sweep = first + k
        block = 4 if x.dtype == torch.float32 else 2
        noise = draws(
            "normal",
            purpose=HMC,
            sweep=sweep,
            chains=chains,
            seed=run.seed,
            sites=-(-slices // block),
            dtype=x.dtype,
        )
        p = motion.momenta(noise.reshape(-1, chains)[:slices].T)
        u = draws("uniform", purpose=HMC | 1, sweep=sweep, chains=chains, seed=run.seed)[0]
        step = tuning[:, 0 if tune else 1].exp().clamp(max=run.longest) * (1 + run.jitter * (2 * u[1] - 1))
        before = motion.kinetic(p) + action
        y, p = motion.move(x, p, step.to(x.dtype)[:, None], run.steps)
        new_action, new_values = motion.sums(y)
        change = motion.kinetic(p) + new_action - before
        weight = torch.where(change.isnan(), 0.0, torch.exp(-change))
        yes = u[0] < weight
        x.copy_(torch.where(yes[:, None], y, x))
        action, values = torch.where(yes, new_action, action), torch.where(yes, new_values, values)
        taken += yes
        if tune:
            _learn(tuning, weight.clamp(max=1), run)
        measured[k, : len(PATH_OBSERVABLES)] = torch.cat([values, weight[None]])
        for row, lag in enumerate(lags, len(PATH_OBSERVABLES)):
            measured[k, row] = (x.double() * x.double().roll(-lag, 1)).mean(1)
    return measured, taken / count


def _learn(tuning: Tensor, acceptance: Tensor, run: Trajectories) -> None:
    """Dual averaging, with the kernel's constants."""
    now, mean, error, t = tuning.unbind(1)
    t += 1
    error.mul_(1 - 1 / (t + 10)).add_((run.target - acceptance) / (t + 10))
    now.copy_((math.log(10 * run.step) - t.sqrt() / 0.05 * error).clamp(max=math.log(run.longest)))
    mean.copy_(t**-0.75 * now + (1 - t**-0.75) * mean)


class _Motion:
    """Energies and leapfrog; with a frequency in velocities, by Fourier transforms."""

    def __init__(self, potential: Potential, model: PathModel, x: Tensor) -> None:
        self.potential, self.model = potential, model
        self.link, self.weight = model.mass / (model.hbar * model.dt), model.dt / model.hbar
        self.slices = x.shape[1]
        if model.frequency > 0:
            e = model.frequency * model.dt
            r = math.exp(-2 * math.asinh(e / 2))
            angle = 2 * math.pi * torch.arange(self.slices // 2 + 1, dtype=torch.float64) / self.slices
            hop = 1 - r * torch.polar(torch.ones_like(angle), -angle)
            kind = torch.complex64 if x.dtype == torch.float32 else torch.complex128
            self.root = (math.sqrt(r / self.link) / hop).to(kind)
            self.covariance = (r / self.link / hop.abs().square()).to(kind)

    def _apply(self, spectrum: Tensor, x: Tensor) -> Tensor:
        result: Tensor = torch.fft.irfft(torch.fft.rfft(x, dim=1) * spectrum, n=self.slices, dim=1)
        return result

    def _slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            value = evaluate(self.potential, at)
            (slope,) = torch.autograd.grad(value.sum(), at)
        return value.detach(), slope

    def momenta(self, noise: Tensor) -> Tensor:
        return self._apply(self.root, noise) if self.model.frequency > 0 else noise

    def kinetic(self, p: Tensor) -> Tensor:
        p = p.double()
        squares = p.square()
        if self.model.frequency > 0:
            e = self.model.frequency * self.model.dt
            squares = self.link * ((p - p.roll(1, 1)).square() + e**2 * squares)
        return squares.sum(1) / 2

    def sums(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """S / hbar (chains,), and the observables up to x4 (5, chains)."""
        v, slope = self._slope(x)
        wide, m = x.double(), self.model
        links, value = (wide - wide.roll(1, 1)).square().sum(1), v.double()
        mean = value.mean(1)
        virial = mean + 0.5 * (wide * slope.double()).mean(1)
        thermodynamic = 0.5 * m.hbar / m.dt - 0.5 * m.mass * links / (self.slices * m.dt**2) + mean
        powers = [wide.mean(1), wide.square().mean(1), wide.square().square().mean(1)]
        action = 0.5 * self.link * links + self.weight * value.sum(1)
        return action, torch.stack([virial, thermodynamic, *powers])

    def move(self, x: Tensor, p: Tensor, step: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        m = self.model
        for s in range(steps + 1):
            part = step * (0.5 if s in (0, steps) else 1.0)
            slope = self._slope(x)[1]
            if m.frequency > 0:
                force = self.weight * (slope - m.mass * m.frequency**2 * x)
                p = p - part * self._apply(self.covariance, force)
            else:
                p = p - part * (self.link * (2 * x - x.roll(1, 1) - x.roll(-1, 1)) + self.weight * slope)
            if s == steps:
                break
            if m.frequency > 0:
                x, p = step.cos() * x + step.sin() * p, step.cos() * p - step.sin() * x
            else:
                x = x + step * p
        return x, p
