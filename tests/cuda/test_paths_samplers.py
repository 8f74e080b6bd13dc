"""Samplers on a device: the same counters give the same chains as on the CPU, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from qcore._ops import _device
from qcore._ops.paths_dynamics import (
    FieldModel,
    PathModel,
    Trajectories,
    dmc,
    hmc_paths,
    hmc_phi4,
    langevin,
    leapfrog_paths,
    leapfrog_phi4,
)
from qcore._ops.paths_random import KINDS, draws
from qcore._ops.paths_samplers import (
    GaussianChain,
    KernelPotential,
    MetropolisSettings,
    gaussian_paths,
    gaussian_weights,
    metropolis_sweeps,
)
from qcore.paths._potential import Table

SEED = 2**63 + 7
REAL = [torch.float32, torch.float64]


def quartic() -> KernelPotential:
    return KernelPotential(torch.tensor([0.1, 0.2, 0.5, 0.0, 0.25], dtype=torch.float64))


def sextic() -> KernelPotential:
    return KernelPotential(torch.tensor([0.1, 0.0, 0.5, 0.1, 0.2, 0.0, 0.05], dtype=torch.float64))


def table() -> KernelPotential:
    x = torch.linspace(-2, 2, 33, dtype=torch.float64)
    cells = Table(0.5 * x**2 + 0.1 * x**4, -2.0, 0.125).cells()
    return KernelPotential(cells, True, -2.0, 8.0)


POTENTIALS = [quartic, sextic, table]


def assert_same(got: Any, expected: Any) -> None:
    """Bit for bit, NaN where NaN is."""
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("kind", KINDS)
def test_random_numbers(kind: Any, dtype: torch.dtype, device: Any) -> None:
    if kind == "words" and dtype == torch.float32:
        dtype = torch.float64

    def sample(like: Tensor) -> Tensor:
        return draws(
            kind,
            purpose=3 << 24,
            sweep=5,
            chains=33,
            sites=3,
            first_chain=2**32 - 33,
            seed=SEED,
            dtype=dtype,
            device=like.device,
        )

    like = torch.empty(0)
    assert_same(device.run(sample, like), sample(like))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize(
    "name",
    ["exp", "expm1", "exp_bounded", "tanh", "sigmoid", "sqrt", "log", "sin", "cos", "sin_turns", "cos_turns"],
)
def test_elementary_functions(name: str, dtype: torch.dtype, device: Any) -> None:
    bounded = name in ("expm1", "exp_bounded") or name.startswith(("sin", "cos"))
    special = [0.0, -0.0, 1e-40, 3e38, torch.inf, -torch.inf, torch.nan, 1e-42]
    x = torch.cat([torch.linspace(-40, 40, 203), torch.tensor([] if bounded else special)]).to(dtype)

    def value(x: Tensor) -> Tensor:
        out = torch.full_like(x, 7)
        _device.kernels(x).vector_function(name, x, out)
        return out

    # The CPU contracts multiplications and additions here, which it doesn't in samplers.
    tolerance = 4 * torch.finfo(dtype).eps if name in ("exp", "sigmoid") else 0
    got, expected = device.run(value, x), value(x)
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=0, equal_nan=True)


def settings(
    potential: KernelPotential, moves: tuple[str, ...], pinned: bool, **changes: Any
) -> MetropolisSettings:
    values: dict[str, Any] = {
        "potential": potential,
        "link": 4.0,
        "potential_scale": 0.25,
        "correction": 0.0,
        "midpoint": False,
        "pinned": pinned,
        "moves": moves,
        "segment": 4,
        "hits": 2,
        "every": 2,
        "lags": (0, 3),
        "histogram": (-2.0, 4.0),
        "seed": SEED,
    }
    return MetropolisSettings(**(values | changes))


CLOSED = ("single", "staging", "bisection", "displacement", "reflection")
PINNED = ("single", "staging", "bisection")


def sweeps(
    settings: MetropolisSettings, x: Tensor, warmup: bool, histogram: bool, calls: int = 1
) -> list[Tensor]:
    chains = x.shape[1]
    x = x.clone()
    step = x.new_full((2, chains), 0.75, dtype=torch.float64)
    counts = x.new_zeros(2, len(settings.moves), chains, dtype=torch.float64)
    bins = x.new_ones(16, dtype=torch.float64) if histogram else None
    results = [x, step, counts, *([] if bins is None else [bins])]
    for call in range(calls):
        results += metropolis_sweeps(
            settings,
            x=x,
            step=step,
            counts=counts,
            histogram=bins,
            first=3 + 4 * call,
            sweeps=4,
            warmup=warmup,
        )
    return results


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("pinned", [False, True])
def test_metropolis(pinned: bool, potential: Any, dtype: torch.dtype, device: Any) -> None:
    x = torch.randn(13, 5, dtype=dtype)
    case = settings(potential(), PINNED if pinned else CLOSED, pinned)
    for warmup in (False, True):
        arguments = (case, x, warmup, not warmup)
        assert_same(device.run(sweeps, *arguments), sweeps(*arguments))


@pytest.mark.parametrize(
    "changes",
    [
        {"midpoint": True},
        {"correction": 0.02},
        {"lags": ()},
        {"segment": 2},
        {"segment": 12},
        {"hits": 1, "every": 7},
    ],
)
def test_metropolis_options(changes: dict[str, Any], device: Any) -> None:
    moves = ("staging", "single", "displacement", "reflection")
    for dtype in REAL:
        x = torch.randn(12, 3, dtype=dtype)
        arguments = (settings(quartic(), moves, False, **changes), x, False, True)
        assert_same(device.run(sweeps, *arguments, calls=2), sweeps(*arguments, calls=2))


@pytest.mark.parametrize("beads", [2, 3, 17, 32])
@pytest.mark.parametrize("chains", [0, 1, 31, 33])
def test_metropolis_sizes(beads: int, chains: int, device: Any) -> None:
    x = torch.randn(beads, chains)
    case = settings(quartic(), ("single", "staging"), False, segment=2, lags=(1,))
    assert_same(device.run(sweeps, case, x, False, True), sweeps(case, x, False, True))


def test_metropolis_with_more_lags_than_an_argument_holds(device: Any) -> None:
    x = torch.randn(300, 2)
    case = settings(quartic(), ("displacement",), False, lags=tuple(range(300)))
    assert_same(device.run(sweeps, case, x, False, False), sweeps(case, x, False, False))


def test_a_nan_stays_in_its_chain(device: Any) -> None:
    x = torch.randn(6, 3)
    x[2, 1] = torch.nan
    case = settings(quartic(), ("single", "staging"), False)
    assert_same(device.run(sweeps, case, x, False, False), sweeps(case, x, False, False))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(("steps", "samples"), [(0, 3), (1, 1), (31, 32), (37, 33)])
def test_gaussian_chains(steps: int, samples: int, closed: bool, dtype: torch.dtype, device: Any) -> None:
    def sample(coefficients: Tensor, ends: Tensor) -> Tensor:
        chain = GaussianChain(coefficients, ends[0], ends[1], 0.5, closed)
        return gaussian_paths(chain, samples=samples, first=9, seed=SEED, dtype=dtype, slot=2)

    arguments = torch.rand(steps, 3, dtype=torch.float64), torch.rand(2, 3, dtype=torch.float64)
    assert_same(device.run(sample, *arguments), sample(*arguments))


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("midpoint", [False, True])
def test_weights_of_gaussian_chains(midpoint: bool, potential: Any, device: Any) -> None:
    def weights(coefficients: Tensor, ends: Tensor) -> Tensor:
        chain = GaussianChain(coefficients, ends[0], ends[1], 0.5, False)
        return gaussian_weights(
            chain,
            potential(),
            scale=0.3,
            quadratic=0.1,
            midpoint=midpoint,
            samples=300,
            first=1,
            seed=SEED,
            slot=2,
        )

    arguments = torch.rand(5, 3, dtype=torch.float64), torch.rand(2, 2, dtype=torch.float64)
    assert_same(device.run(weights, *arguments), weights(*arguments))


TRAJECTORIES = Trajectories(steps=3, jitter=0.2, target=0.8, step=0.2, longest=2.0, seed=SEED)


def first_steps(chains: int) -> Tensor:
    log = torch.log(torch.linspace(0.1, 0.6, chains, dtype=torch.float64))
    return torch.stack([log, log, torch.zeros_like(log), torch.zeros_like(log)], 1)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("frequency", [0.0, 1.5])
def test_hmc_of_paths(frequency: float, potential: Any, dtype: torch.dtype, device: Any) -> None:
    model = PathModel(1.0, 0.9, 0.25, frequency)

    def move(x: Tensor, tuning: Tensor) -> list[Tensor]:
        x, tuning = x.clone(), tuning.clone()
        results = []
        for call in range(2):
            results += hmc_paths(
                potential(),
                model,
                TRAJECTORIES,
                lags=(0, 2),
                x=x,
                tuning=tuning,
                first=3 * call,
                count=3,
                tune=call == 0,
            )
        return [x, tuning, *results]

    arguments = torch.randn(5, 9, dtype=dtype), first_steps(5)
    assert_same(device.run(move, *arguments), move(*arguments))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize(
    ("chains", "lattice"),
    [
        (1, (1, 1)),
        (3, (5, 4)),
        (33, (2, 3)),
        (2, (17, 16)),  # more sites than a block has threads
        (97, (2, 3)),  # so many that threads have lattices, not blocks
        (33, (1, 2)),
    ],
)
def test_hmc_of_fields(chains: int, lattice: tuple[int, int], dtype: torch.dtype, device: Any) -> None:
    model = FieldModel(1.0, 0.7, -0.4, 0.3)

    def move(phi: Tensor, tuning: Tensor) -> list[Tensor]:
        phi, tuning = phi.clone(), tuning.clone()
        results = []
        for call in range(2):
            results += hmc_phi4(
                model, TRAJECTORIES, phi=phi, tuning=tuning, first=2 * call, count=2, tune=call == 0
            )
        return [phi, tuning, *results]

    arguments = torch.randn(chains, *lattice, dtype=dtype), first_steps(chains)
    assert_same(device.run(move, *arguments), move(*arguments))


@pytest.mark.parametrize("dtype", REAL)
def test_leapfrog(dtype: torch.dtype, device: Any) -> None:
    def paths(x: Tensor, momenta: Tensor) -> list[Tensor]:
        x, momenta = x.clone(), momenta.clone()
        energies = []
        for potential in (quartic(), table()):
            for frequency in (0.0, 1.0):
                model = PathModel(1.0, 1.0, 0.25, frequency)
                energies.append(leapfrog_paths(potential, model, step=0.1, steps=2, x=x, momenta=momenta))
        return [x, momenta, *energies]

    def fields(phi: Tensor, momenta: Tensor) -> list[Tensor]:
        phi, momenta = phi.clone(), momenta.clone()
        model = FieldModel(1.0, 0.7, -0.4, 0.3)
        return [phi, momenta, leapfrog_phi4(model, step=0.1, steps=2, phi=phi, momenta=momenta)]

    arguments = torch.randn(2, 3, 8, dtype=dtype)
    assert_same(device.run(paths, *arguments), paths(*arguments))
    arguments = torch.randn(2, 3, 4, 5, dtype=dtype)
    assert_same(device.run(fields, *arguments), fields(*arguments))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize(
    ("scheme", "potential"),
    [
        ("euler-maruyama", quartic),
        ("heun", sextic),
        ("leimkuhler-matthews", table),
        ("implicit-midpoint", quartic),
        ("exact", None),
    ],
)
def test_langevin(scheme: str, potential: Any, dtype: torch.dtype, device: Any) -> None:
    quadratic = KernelPotential(torch.tensor([0.0, 0.2, 0.5], dtype=torch.float64))

    def walk(x: Tensor) -> list[Tensor]:
        x = x.clone()
        results = []
        for first in (0, 2):
            results += langevin(
                potential() if potential else quadratic,
                scheme=scheme,
                dt=0.05,
                diffusion=0.5,
                lags=(0, 3),
                x=x,
                first=first,
                count=2,
                steps=7,
                seed=SEED,
            )
        return [x, *results]

    x = torch.randn(35, dtype=dtype)
    x[3] = 1e30
    assert_same(device.run(walk, x), walk(x))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("potential", [quartic, table])
@pytest.mark.parametrize(("populations", "size"), [(1, 1), (2, 15), (3, 65), (1, 300)])
def test_dmc(
    populations: int, size: int, potential: Any, guided: bool, dtype: torch.dtype, device: Any
) -> None:
    guide = torch.tensor([0.0, 0.0, -0.3], dtype=torch.float64) if guided else None

    def walk(walkers: Tensor, reference: Tensor) -> list[Tensor]:
        walkers, reference = walkers.clone(), reference.clone()
        results = [
            dmc(
                potential(),
                guide,
                mass=1.0,
                hbar=1.0,
                dt=0.05,
                walkers=walkers,
                reference=reference,
                first=first,
                count=2,
                steps=3,
                seed=SEED,
            )
            for first in (0, 2)
        ]
        return [walkers, reference, *results]

    arguments = torch.randn(populations, size, dtype=dtype), torch.full((populations,), 0.4).double()
    assert_same(device.run(walk, *arguments), walk(*arguments))
