"""Metropolis sampling: averages of lattices that are known exactly, moves, acceptance, invariances."""

from __future__ import annotations

import pytest
import torch

from qcore.paths import gaussian_paths, lattice_oscillator

from .metropolis_support import (
    EVERY_MOVE,
    LATTICE,
    assert_within,
    engine,
    exact_lattice,
    quartic,
    quartic_table,
    sample,
)

SINGLE = ("single",)
DTYPES = (torch.float32, torch.float64)


@pytest.mark.parametrize("scheme", LATTICE)
def test_the_oracle_has_the_published_values(scheme: str) -> None:
    exact = exact_lattice(scheme, 8)
    for name, value in zip(("x2", "x4", "correlator_8"), LATTICE[scheme], strict=True):
        assert exact[name] == pytest.approx(value, rel=1e-8)


@pytest.mark.parametrize(
    ("scheme", "moves"),
    [
        ("trapezoid", ("single", "displacement")),
        ("trapezoid", ("staging",)),
        ("trapezoid", ("bisection",)),
        ("trapezoid", EVERY_MOVE),
        ("midpoint", ("single", "displacement", "reflection")),
        ("midpoint", ("staging",)),
        ("takahashi-imada", ("single", "displacement", "reflection")),
        ("takahashi-imada", ("staging", "bisection")),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_anharmonic_lattice(scheme: str, moves: tuple[str, ...], dtype: torch.dtype) -> None:
    result = sample(scheme=scheme, moves=moves, lags=(8,), dtype=dtype, warmup=200)
    assert_within(result, exact_lattice(scheme, 8))
    assert result["x2"].error < 0.003


@pytest.mark.parametrize("slices", [2, 3, 5, 7])
@pytest.mark.parametrize("moves", [("single",), ("staging",), ("single", "displacement")])
def test_oscillator_of_few_and_of_odd_slices(slices: int, moves: tuple[str, ...]) -> None:
    mass, hbar, omega, beta = 1.3, 0.7, 1.7, 1.1
    spring = mass * omega**2 / 2
    result = sample(
        potential=[0.25, 0.0, spring],
        beta=beta,
        slices=slices,
        mass=mass,
        hbar=hbar,
        moves=moves,
        segment=2,
        lags=(slices // 2,),
        sweeps=2000,
        warmup=200,
    )
    dt = hbar * beta / slices
    # The free energy's derivative, by the closed form of Z on the lattice.
    d = 1e-4
    units = {"omega": omega, "mass": mass, "hbar": hbar}
    log_z = [
        float(lattice_oscillator(dt=hbar * b / slices, **units).log_partition_function(slices))
        for b in (beta - d, beta + d)
    ]
    energy = 0.25 - (log_z[1] - log_z[0]) / (2 * d)
    lattice = lattice_oscillator(dt=dt, **units)
    x2 = float(lattice.correlator(0, 0, slices))
    correlator = float(lattice.correlator(0, slices // 2, slices))
    exact = {
        "energy_virial": energy,
        "energy_thermodynamic": energy,
        "x2": x2,
        "x4": 3 * x2**2,
        f"correlator_{slices // 2}": correlator,
    }
    assert_within(result, exact)


@pytest.mark.parametrize("moves", [("single",), ("staging",), ("bisection", "single")])
def test_pinned_paths_of_the_oscillator(moves: tuple[str, ...]) -> None:
    slices, beta, ends = 12, 2.0, (0.8, -0.3)
    result = sample(
        potential=[0.0, 0.0, 0.5],
        slices=slices,
        beta=beta,
        boundary="pinned",
        ends=ends,
        moves=moves,
        segment=4,
        lags=(2, 6),
        warmup=200,
        sweeps=2000,
    )
    paths = gaussian_paths(
        1.0, steps=slices, beta=beta, samples=100_000, boundary="pinned", ends=ends, seed=1
    )
    # From exact samples, whose own error is far below the chains'; the ends never move.
    exact = {
        "x2": float(paths[:, 1:-1].square().mean()),
        "x4": float((paths[:, 1:-1] ** 4).mean()),
        "x2_middle": float(paths[:, 6].square().mean()),
        "correlator_2": float((paths[:, 6] * paths[:, 8]).mean()),
        "correlator_6": float((paths[:, 6] * paths[:, 12]).mean()),
    }
    squares = paths.square() / 2
    dt = beta / slices
    exact["action"] = dt * float((squares.sum(1) - (squares[:, 0] + squares[:, -1]) / 2).mean())
    assert_within(result, exact, sigmas=4.5)
    x = result.state["x"]
    assert bool((x[0] == torch.tensor(ends[0], dtype=x.dtype)).all())
    assert bool((x[-1] == torch.tensor(ends[1], dtype=x.dtype)).all())


@pytest.mark.parametrize(
    ("scheme", "boundary", "moves"),
    [
        ("trapezoid", "periodic", EVERY_MOVE),
        ("midpoint", "periodic", ("single", "staging", "displacement", "reflection")),
        ("takahashi-imada", "periodic", EVERY_MOVE),
        ("trapezoid", "pinned", ("single", "staging", "bisection")),
        ("midpoint", "pinned", ("single", "staging")),
    ],
)
@pytest.mark.parametrize("slices", [8, 11])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_kernel_makes_the_moves_that_torch_makes(
    scheme: str, boundary: str, moves: tuple[str, ...], slices: int, dtype: torch.dtype
) -> None:
    """Same random numbers, two implementations: the same chains until rounding decides otherwise."""
    settings: dict[str, object] = {
        "scheme": scheme,
        "boundary": boundary,
        "ends": (0.5, -0.25) if boundary == "pinned" else None,
        "moves": moves,
        "slices": slices,
        "lags": (0, 3),
        "histogram": (-2.0, 2.0, 40),
        "mass": 1.3,
        "hbar": 0.7,
        "dtype": dtype,
        "chains": 37,
    }
    potential = [0.1, 0.2, 0.5, -0.1, 1.0]

    def function(x: torch.Tensor) -> torch.Tensor:
        return 0.1 + x * (0.2 + x * (0.5 + x * (-0.1 + x)))

    ours = engine(potential=potential, **settings)
    plain = engine(potential=function, **settings)
    state, same = ours.start(), torch.ones(37, dtype=torch.bool)
    other = {name: value.clone() for name, value in state.items()}
    for first, warmup in ((0, True), (5, False)):
        state, measured, accepted = ours.advance(state, first, 5, warmup=warmup)
        other, again, taken = plain.advance(other, first, 5, warmup=warmup)
        tolerance = 1e-9 if dtype == torch.float64 else 2e-4
        same = ((state["x"] - other["x"]).abs() < tolerance).all(0)
        # A decision within rounding of its threshold may fall differently; in single precision, a few do.
        assert same.double().mean() > (0.99 if dtype == torch.float64 else 0.8)
        scale = 1 + again.abs()
        off = ((measured - again).abs() / scale).amax((0, 1))[same]
        assert off.max() < (1e-8 if dtype == torch.float64 else 5e-3)
        assert ((accepted - taken).abs()[same] < 1e-12).all()
    torch.testing.assert_close(
        state["tuned_step"][:, same], other["tuned_step"][:, same], rtol=1e-4, atol=1e-6
    )
    assert torch.equal(state["counts"][:, :, same], other["counts"][:, :, same])
    if dtype == torch.float64 and bool(same.all()):
        assert torch.equal(state["histogram"], other["histogram"])
    assert float(state["histogram"].sum()) > 0


def test_hits_are_more_proposals_to_each_bead() -> None:
    result = sample(moves=SINGLE, hits=3, lags=(8,), sweeps=1500, warmup=200)
    assert_within(result, exact_lattice("trapezoid", 8))
    assert bool((result.state["counts"][0] == 1500 * 16 * 3).all())


def test_tables_and_functions_give_what_the_polynomial_gives() -> None:
    state = engine(moves=EVERY_MOVE).advance(engine().start() | counts(5), 0, 10, warmup=False)
    for potential, tolerance in ((quartic_table(), 1e-6), (quartic, 1e-10)):
        other = engine(potential=potential, moves=EVERY_MOVE)
        again = other.advance(engine().start() | counts(5), 0, 10, warmup=False)
        torch.testing.assert_close(again[0]["x"], state[0]["x"], rtol=0, atol=tolerance)
        torch.testing.assert_close(again[1], state[1], rtol=0, atol=100 * tolerance)


def counts(moves: int) -> dict[str, torch.Tensor]:
    return {"counts": torch.zeros(2, moves, 20, dtype=torch.float64)}


def test_a_long_polynomial() -> None:
    c = [0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.2, 0.0, 0.01]

    def function(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x**2 + 0.2 * x**6 + 0.01 * x**8

    ours = engine(potential=c, moves=SINGLE)
    plain = engine(potential=function, moves=SINGLE)
    state, measured, _ = ours.advance(ours.start(), 0, 10, warmup=False)
    other, again, _ = plain.advance(plain.start(), 0, 10, warmup=False)
    torch.testing.assert_close(state["x"], other["x"], rtol=0, atol=1e-10)
    torch.testing.assert_close(measured, again, rtol=1e-9, atol=1e-9)


# --- detailed balance -----------------------------------------------------------------------------


@pytest.mark.parametrize("move", ["single", "staging", "bisection", "displacement", "reflection"])
def test_the_weight_is_invariant_under_each_move(move: str) -> None:
    """Exact paths of the oscillator stay distributed as they are after one sweep of any move."""
    chains, slices = 200_000, 4
    start = gaussian_paths(1.0, steps=slices, beta=1.6, samples=chains, seed=11)
    e = engine(
        potential=[0.0, 0.0, 0.5], beta=1.6, slices=slices, chains=chains, moves=(move,), start=start, seed=5
    )
    state = e.start()
    after, _, accepted = e.advance(state, 0, 1, warmup=False)
    x = after["x"].T
    assert not torch.equal(x, start)
    assert float(accepted.mean()) > 0.2
    for before_value, after_value in (
        (start.square().mean(1), x.square().mean(1)),
        ((start**4).mean(1), (x**4).mean(1)),
        ((start * start.roll(1, 1)).mean(1), (x * x.roll(1, 1)).mean(1)),
        ((start * start.roll(2, 1)).mean(1), (x * x.roll(2, 1)).mean(1)),
        (start.sum(1), x.sum(1)),
    ):
        change = after_value - before_value  # correlated samples: the difference has the smaller error
        assert abs(float(change.mean())) <= 4.5 * float(change.std()) / chains**0.5 + 1e-12


@pytest.mark.parametrize("move", ["single", "staging"])
def test_flows_between_two_sets_balance(move: str) -> None:
    """Of an even weight as many paths go from A to B in a move as come back, move by move."""
    chains = 400_000
    start = gaussian_paths(1.0, steps=2, beta=1.6, samples=chains, seed=12)
    e = engine(
        potential=[0.0, 0.0, 0.5],
        beta=1.6,
        slices=2,
        segment=2,
        chains=chains,
        moves=(move,),
        start=start,
        seed=6,
    )
    x = e.advance(e.start(), 0, 1, warmup=False)[0]["x"].T
    for level in (0.3, 1.0):
        before, after = start.square().sum(1) > level, x.square().sum(1) > level
        out, back = float((before & ~after).sum()), float((~before & after).sum())
        assert out > 1000
        assert abs(out - back) < 4 * (out + back) ** 0.5


# --- acceptance -----------------------------------------------------------------------------------


def test_steps_are_tuned_to_accept_half_and_then_stay() -> None:
    result = sample(moves=("single", "displacement"), warmup=400, sweeps=400)
    proposed, taken = result.state["counts"]
    share = (taken / proposed).mean(1)
    assert share.tolist() == pytest.approx([0.5, 0.5], abs=0.03)
    torch.testing.assert_close(result.acceptance, taken[0] / proposed[0], rtol=0, atol=1e-8)
    # Far too wide a step to begin with is found out as well.
    e = engine(moves=("single", "displacement"), chains=64)
    state = e.start()
    state["tuned_step"] = torch.full_like(state["tuned_step"], 50.0)
    state, _, _ = e.advance(state, 0, 400, warmup=True)
    tuned = state["tuned_step"].clone()
    state, _, _ = e.advance(state, 400, 400, warmup=False)
    assert torch.equal(state["tuned_step"], tuned)
    share = (state["counts"][1] / state["counts"][0]).mean(1)
    assert share.tolist() == pytest.approx([0.5, 0.5], abs=0.05)


def test_staging_accepts_all_without_a_potential_and_less_of_longer_segments() -> None:
    free = sample(potential=[0.3], moves=("staging", "bisection", "displacement", "reflection"), sweeps=20)
    assert torch.equal(free.state["counts"][0], free.state["counts"][1])
    shares = []
    for segment in (2, 4, 8, 16):
        result = sample(moves=("staging",), segment=segment, sweeps=200)
        proposed, taken = result.state["counts"]
        assert bool((proposed == 200 * (16 // segment)).all())
        shares.append(float((taken / proposed).mean()))
    assert sorted(shares, reverse=True) == shares
    assert shares[0] > 0.95
    assert 0.3 < shares[3] < 0.8


def test_reflections_of_even_potentials_are_all_accepted_and_carry_over_a_barrier() -> None:
    double_well = [9.0, 0.0, -6.0, 0.0, 1.0]
    settings = {"potential": double_well, "beta": 4.0, "slices": 64, "start": 3**0.5, "sweeps": 300}
    mixed = sample(**settings, moves=("single", "reflection"), keep_chains=True)  # type: ignore[arg-type]
    proposed, taken = mixed.state["counts"]
    assert torch.equal(proposed[1], taken[1])
    assert bool((proposed[1] == 300).all())
    tilted = sample(**{**settings, "potential": [9.0, 2.0, -6.0, 0.0, 1.0]}, moves=("reflection",))  # type: ignore[arg-type]
    assert float(tilted.state["counts"][1].sum()) < float(tilted.state["counts"][0].sum())
