"""Metropolis sampling: what must not change its chains, and how they are kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from processes import with_isa
from qcore import _core
from qcore.paths import CheckpointError, SampleResult, metropolis, run

from .metropolis_support import EVERY_MOVE, LATTICE, QUARTIC, SLICES, engine, quartic, sample

DTYPES = (torch.float32, torch.float64)


def states(result: SampleResult) -> list[torch.Tensor]:
    assert result.series is not None
    return [*result.state.values(), result.series]


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_the_threads(dtype: torch.dtype) -> None:
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        result = sample(sweeps=40, moves=EVERY_MOVE, dtype=dtype, histogram=(-2.0, 2.0, 20), keep_chains=True)
        runs.append(states(result))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_chain_is_the_same_in_any_company(dtype: torch.dtype) -> None:
    many = sample(chains=70, sweeps=30, moves=EVERY_MOVE, dtype=dtype, keep_chains=True)
    few = sample(chains=21, sweeps=30, moves=EVERY_MOVE, dtype=dtype, keep_chains=True)
    for name, value in few.state.items():
        assert torch.equal(many.state[name][..., :21], value), name
    assert many.series is not None
    assert few.series is not None
    assert torch.equal(many.series[..., :21], few.series)


@pytest.mark.parametrize("potential", [QUARTIC, quartic])
def test_runs_may_be_cut_anywhere(tmp_path: Path, potential: object) -> None:
    settings: dict[str, object] = {
        "potential": potential,
        "moves": EVERY_MOVE,
        "chains": 5,
        "every": 3,
        "keep_chains": True,
        "histogram": (-1.0, 1.0, 10),
    }
    whole = states(sample(sweeps=12, warmup=34, **settings))
    first = sample(sweeps=7, warmup=34, block=2, **settings)
    pieces = states(sample(sweeps=5, block=3, previous=first, **settings))
    assert all(torch.equal(a, b) for a, b in zip(whole, pieces, strict=True))
    file = tmp_path / "run"
    sample(sweeps=7, warmup=34, checkpoint=file, **settings)
    resumed = states(sample(sweeps=12, warmup=34, checkpoint=file, **settings))
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_checkpoints_of_another_run_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "run"
    sample(sweeps=3, warmup=0, checkpoint=file)
    for change in (
        {"seed": 8},
        {"potential": [0.0, 0.0, 0.6]},
        {"moves": ("single",)},
        {"dtype": torch.float64},
    ):
        with pytest.raises(CheckpointError, match="expected a checkpoint of this run"):
            sample(sweeps=5, warmup=0, checkpoint=file, **change)


def test_starts_are_told_apart_by_every_bead(tmp_path: Path) -> None:
    start = torch.randn(128, SLICES, generator=torch.Generator().manual_seed(1))
    sample(sweeps=3, start=start, checkpoint=tmp_path / "run")
    for other in (-start, start.flip(0), start.roll(1, 1)):
        with pytest.raises(CheckpointError, match="expected a checkpoint of this run, but start"):
            sample(sweeps=5, start=other, checkpoint=tmp_path / "run")


def test_numbers_of_numpy_are_numbers() -> None:
    given = {"hbar": np.float32(0.5), "mass": np.float64(2.0), "beta": np.float32(2.0)}
    plain = {"hbar": 0.5, "mass": 2.0, "beta": 2.0}
    results = [metropolis(QUARTIC, slices=8, sweeps=3, chains=4, **kind) for kind in (given, plain)]
    assert all(torch.equal(a, b) for a, b in zip(*map(states, results), strict=True))


def digest() -> str:
    """Of the bits of chains of this process."""
    bits = hashlib.sha256()
    settings = {"beta": 2.0, "slices": 16, "chains": 21, "sweeps": 20, "warmup": 10, "lags": (4,)}
    for dtype in (torch.float32, torch.float64):
        for scheme in ("trapezoid", "takahashi-imada"):
            r = metropolis(
                [0.1, 0.2, 0.5, 0.0, 1.0],
                moves=EVERY_MOVE,
                scheme=scheme,
                dtype=dtype,
                keep_chains=True,
                **settings,
            )
            for value in (*r.state.values(), r.series):
                bits.update(value.contiguous().numpy().tobytes())
    return bits.hexdigest()


def test_chains_are_the_same_with_every_fused_multiply_add() -> None:
    fused = [isa for isa in _core.isa_available() if isa not in ("x86-64-v2", "baseline")]
    assert len({with_isa(isa, digest) for isa in fused}) <= 1


def quartic_x2() -> tuple[float, float]:
    """<x^2> of a quartic oscillator, and its error."""
    moves = ("single", "staging", "displacement")
    settings = {"slices": 16, "chains": 64, "sweeps": 800, "warmup": 200, "segment": 8, "seed": 1}
    r = metropolis([0, 0, 0.5, 0, 1.0], beta=2.0, moves=moves, **settings)
    return r["x2"].mean, r["x2"].error


def test_the_plainest_instruction_set_samples_as_well() -> None:
    mean, error = with_isa(_core.isa_available()[0], quartic_x2)
    assert abs(mean - LATTICE["trapezoid"][0]) < 4 * error
    assert error < 0.01


def test_histogram_is_the_density_of_the_beads() -> None:
    result = sample(moves=("single", "staging"), histogram=(-1.5, 1.5, 30), sweeps=400, keep_chains=True)
    counts_of = result.state["histogram"]
    assert float(counts_of.sum()) <= 400 * 128 * 16
    centres = torch.linspace(-1.45, 1.45, 30, dtype=torch.float64)
    density = counts_of / counts_of.sum()
    inside = float((density * centres**2).sum())
    assert inside == pytest.approx(result["x2"].mean, rel=0.1)
    assert float((density - density.flip(0)).abs().max()) < 0.01


def test_every_measures_fewer() -> None:
    all_of_them = run(engine(), sweeps=12, keep_chains=True)
    third = run(engine(every=3), sweeps=12, keep_chains=True)
    assert all_of_them.series is not None
    assert third.series is not None
    assert torch.equal(third.series, all_of_them.series[2::3])


def test_a_potential_that_overflows_is_only_never_entered() -> None:
    def walled(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x.abs() < 1, 0 * x, torch.full_like(x, float("inf")))

    def undefined(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x.abs() < 1, 0 * x, torch.full_like(x, float("nan")))

    for potential in (walled, undefined):
        result = sample(
            potential=potential, chains=16, sweeps=30, warmup=20, moves=("single", "displacement")
        )
        assert float(result.state["x"].abs().max()) < 1
        assert 0 < float(result.acceptance.mean()) < 1
