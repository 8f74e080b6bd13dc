"""How samplers run: cuts that do not show, warm-up, progress, stops, limits, results."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from qcore import stats
from qcore.paths import SampleResult, _tally, run

from .toy_engine import Ar1


def same(a: SampleResult, b: SampleResult) -> None:
    """Equal to the last bit in all but the time taken."""
    assert a.estimates == b.estimates
    assert torch.equal(a.acceptance, b.acceptance)
    assert a.state.keys() == b.state.keys()
    assert all(torch.equal(a.state[name], b.state[name]) for name in a.state)
    assert (a.series is None) == (b.series is None)
    assert a.series is None or torch.equal(a.series, b.series)
    assert (a.sweeps, a.warmup, a.measurements, a.stopped) == (b.sweeps, b.warmup, b.measurements, b.stopped)


@pytest.fixture(params=["series", "bins"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs whose measurements are all kept, and runs that soon keep bins only."""
    if request.param == "bins":
        monkeypatch.setattr(_tally, "SERIES_BYTES", 20000)
    return str(request.param)


@pytest.mark.parametrize("block", [1, 7, 64, 5000, None])
def test_blocks_do_not_show(block: int | None, kept: str) -> None:
    whole = run(Ar1(), sweeps=900, warmup=100, block=450)
    assert (whole.series is None) == (kept == "bins")
    same(run(Ar1(), sweeps=900, warmup=100, block=block), whole)


@pytest.mark.parametrize("first", [0, 1, 300, 899, 900])
def test_two_runs_are_one(first: int, kept: str) -> None:
    whole = run(Ar1(), sweeps=900, warmup=100)
    part = run(Ar1(), sweeps=first, warmup=100, block=11)
    same(run(Ar1(), sweeps=900 - first, previous=part), whole)
    same(run(Ar1(), sweeps=900 - first, previous=part, block=13), whole)  # a result can be gone on from twice
    same(run(Ar1(), sweeps=900 - first, warmup=30, previous=part), whole)  # and has had its warm-up
    assert part.sweeps == first


def test_measurements_every_few_sweeps() -> None:
    whole = run(Ar1(every=7), sweeps=500, warmup=10)
    part = run(Ar1(every=7), sweeps=3, warmup=10, block=1)
    assert part.measurements == 0
    same(run(Ar1(every=7), sweeps=497, previous=part, block=5), whole)
    assert whole.measurements == 510 // 7 - 10 // 7


def test_every_sweep_is_made_once_in_order() -> None:
    engine = Ar1()
    run(engine, sweeps=100, warmup=70, block=40)
    at = 0
    for first, sweeps, warmup in engine.calls:
        assert first == at
        assert warmup == (first < 70)
        at += sweeps
    assert at == 170
    assert [sweeps for _, sweeps, warmup in engine.calls if warmup] == [32, 32, 6]


def test_chains_that_are_added_leave_the_others_alone() -> None:
    few, many = (run(Ar1(chains=c), sweeps=200, warmup=40) for c in (3, 8))
    assert few.series is not None
    assert many.series is not None
    assert torch.equal(few.series, many.series[:, :, :3])
    assert torch.equal(few.acceptance, many.acceptance[:3])


def test_what_the_warm_up_tuned_is_recorded() -> None:
    result = run(Ar1(), sweeps=10, warmup=64)
    assert torch.equal(result.tuned["step"], result.state["tuned_step"])
    assert not torch.equal(result.tuned["step"], torch.ones(4, dtype=torch.float64))
    assert torch.equal(run(Ar1(), sweeps=500, warmup=64).tuned["step"], result.tuned["step"])


def test_tuning_after_the_warm_up_is_refused() -> None:
    class Restless(Ar1):
        def advance(self, state: Any, first: int, sweeps: int, *, warmup: bool) -> Any:
            return super().advance(state, first, sweeps, warmup=True)

    with pytest.raises(RuntimeError, match="ar1: tuned_step changed after the warm-up"):
        run(Restless(), sweeps=10, warmup=32)


def test_estimates_are_those_of_the_series() -> None:
    result = run(Ar1(rho=0.8, chains=8), sweeps=3000, warmup=50)
    assert result.series is not None
    assert result.series.shape == (3000, 2, 8)
    assert result["x"] == stats.estimate(result.series[:, 0])
    assert result["x2"] == stats.estimate(result.series[:, 1])
    assert abs(result["x"].mean) < 4 * result["x"].error
    assert abs(result["x2"].mean - 1) < 4 * result["x2"].error
    assert abs(result["x"].tau_int - 4.5) < 4 * result["x"].tau_error
    assert abs(result["x2"].tau_int - (1 + 0.64) / (2 * 0.36)) < 4 * result["x2"].tau_error
    assert (result.chains, result.measurements, result.sweeps, result.warmup) == (8, 3000, 3000, 50)


def test_bins_give_what_the_series_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    series = run(Ar1(rho=0.8, chains=8), sweeps=4000)
    monkeypatch.setattr(_tally, "SERIES_BYTES", 10000)
    bins = run(Ar1(rho=0.8, chains=8), sweeps=4000)
    assert bins.series is None
    for name in ("x", "x2"):
        assert bins[name].method == "binning"
        assert bins[name].mean == pytest.approx(series[name].mean, abs=1e-13)
        assert bins[name].error == pytest.approx(series[name].error, rel=0.15)
    assert bins.measurements == 4000


def test_keep_chains_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = run(Ar1(), sweeps=300, keep_chains=True)
    monkeypatch.setattr(_tally, "SERIES_BYTES", 100)
    assert run(Ar1(), sweeps=300).series is None
    same(run(Ar1(), sweeps=300, keep_chains=True), kept)


def test_the_table_says_what_people_ask_for() -> None:
    engine = Ar1()
    engine.dt_order = 2  # type: ignore[attr-defined]
    text = str(run(engine, sweeps=2000, warmup=32))
    for part in (
        "ar1: 4 chains, 2000 sweeps after 32 of warm-up",
        "x2",
        "ESS/s",
        "acceptance 0.",
        "1/2 + sum",
    ):
        assert part in text
    assert "dt error of order 2" in text
    assert "unreliable" not in text
    short = str(run(Ar1(rho=0.95), sweeps=40))
    assert "unreliable: " in short
    assert "dt error" not in short


def test_progress_is_told_once_a_block() -> None:
    told: list[int] = []
    part = run(Ar1(), sweeps=100, warmup=40, block=32, progress=told.append)
    assert told == [32, 40, 72, 104, 136, 140]
    run(Ar1(), sweeps=40, previous=part, block=32, progress=told.append)
    assert told[6:] == [172, 180]


def interrupt_at(sweeps: int, action: Callable[[], None]) -> Callable[[int], None]:
    def progress(done: int) -> None:
        if done == sweeps:
            action()

    return progress


def raise_interrupt() -> None:
    raise KeyboardInterrupt


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("how", [raise_interrupt, press_ctrl_c])
@pytest.mark.parametrize("when", [32, 90])
def test_ctrl_c_stops_between_blocks(how: Callable[[], None], when: int) -> None:
    handler = signal.getsignal(signal.SIGINT)
    part = run(Ar1(), sweeps=200, warmup=40, block=10, progress=interrupt_at(when, how))
    assert part.stopped == "interrupt"
    assert part.warmup + part.sweeps == when
    assert "stopped: interrupt" in str(part)
    assert signal.getsignal(signal.SIGINT) is handler
    same(run(Ar1(), sweeps=200 - part.sweeps, previous=part), run(Ar1(), sweeps=200, warmup=40))


def test_ctrl_c_in_the_last_block_stops_nothing() -> None:
    assert run(Ar1(), sweeps=50, block=10, progress=interrupt_at(50, press_ctrl_c)).stopped == ""


def test_the_second_ctrl_c_interrupts_at_once() -> None:
    class Stuck(Ar1):
        def advance(self, state: Any, first: int, sweeps: int, *, warmup: bool) -> Any:
            press_ctrl_c()
            press_ctrl_c()
            raise AssertionError("went on")

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(Stuck(), sweeps=10)
    assert signal.getsignal(signal.SIGINT) is handler


def test_other_errors_of_progress_pass_through() -> None:
    def broken(done: int) -> None:
        raise OSError("no terminal")

    with pytest.raises(OSError, match="no terminal"):
        run(Ar1(), sweeps=10, progress=broken)


def test_runs_outside_the_main_thread() -> None:
    results: list[SampleResult] = []
    thread = threading.Thread(target=lambda: results.append(run(Ar1(), sweeps=50)))
    thread.start()
    thread.join()
    same(results[0], run(Ar1(), sweeps=50))


def test_the_time_limit_lets_one_block_pass() -> None:
    part = run(Ar1(), sweeps=100, block=10, time_limit=0)
    assert (part.stopped, part.sweeps) == ("time limit", 10)
    assert run(Ar1(), sweeps=100, time_limit=60).stopped == ""
    parts, result = 1, part
    while result.stopped:
        result = run(Ar1(), sweeps=100 - result.sweeps, previous=result, block=30, time_limit=0)
        parts += 1
    assert parts == 4
    same(result, run(Ar1(), sweeps=100))


def test_blocks_of_open_size_last_a_quarter_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that gives every sweep a millisecond."""
    now = [0.0]

    class Timed(Ar1):
        def advance(self, state: Any, first: int, sweeps: int, *, warmup: bool) -> Any:
            now[0] += 1e-3 * sweeps
            return super().advance(state, first, sweeps, warmup=warmup)

    monkeypatch.setattr("qcore.paths._run.time.monotonic", lambda: now[0])
    told: list[int] = []
    run(Timed(), sweeps=2000, progress=told.append)
    steps = [b - a for a, b in pairwise(told)]
    assert all(240 <= step <= 250 for step in steps[6:-1])
    assert told[-1] == 2000


def test_nothing_to_do() -> None:
    result = run(Ar1(), sweeps=0)
    assert (result.sweeps, result.measurements) == (0, 0)
    assert result["x"].unreliable == "no measurements"
    assert "no measurements" in str(result)
    warmed = run(Ar1(), sweeps=0, warmup=64)
    assert (warmed.warmup, warmed.chains) == (64, 4)
    same(run(Ar1(), sweeps=30, previous=warmed), run(Ar1(), sweeps=30, warmup=64))


def test_no_chains() -> None:
    result = run(Ar1(chains=0), sweeps=20, warmup=5)
    assert (result.chains, result["x"].measurements) == (0, 0)


def test_functions_of_averages() -> None:
    """The ratio's error against the delta method with the covariance of whole chains."""
    result = run(Ar1(chains=400, rho=0.3), sweeps=400, warmup=32)
    found = result.derived(lambda mean: (mean["x2"] + mean["x"]) / (2 + mean["x"]))
    means = result.series.mean(0)  # type: ignore[union-attr]
    x, x2 = means[0].mean(), means[1].mean()
    covariance = torch.cov(means) / 400
    slope = torch.stack([1 / (2 + x) - (x2 + x) / (2 + x) ** 2, 1 / (2 + x)])
    delta = float((slope @ covariance @ slope).sqrt())
    assert float(found.value) == pytest.approx(float((x2 + x) / (2 + x)), rel=1e-12)
    assert float(found.error) == pytest.approx(delta, rel=0.25)  # 100 blocks: 7 % of error, with 400 5 %
    assert found.blocks == 100
    assert found.unreliable == ""
    assert abs(float(found.value) - 0.5) < 4 * float(found.error)


def test_functions_of_averages_of_long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tally, "SERIES_BYTES", 10000)
    result = run(Ar1(chains=40), sweeps=300)
    assert result.series is None
    found = result.derived(lambda mean: mean["x2"])
    assert float(found.value) == pytest.approx(result["x2"].mean, rel=1e-12)
    assert float(found.error) == pytest.approx(result["x2"].error, rel=0.4)
    assert found.blocks == 40
    with pytest.raises(ValueError, match="keep_chains: expected True"):
        run(Ar1(chains=4), sweeps=1000).derived(lambda mean: mean["x2"])
    with pytest.raises(ValueError, match="keep_chains: expected True"):
        result.to_arviz()


def test_functions_of_averages_say_when_blocks_are_short() -> None:
    result = run(Ar1(chains=1, rho=0.9), sweeps=2000)
    assert "shorter than 10 tau" in result.derived(lambda mean: mean["x"]).unreliable
    assert "fewer than 30" in result.derived(lambda mean: mean["x"], blocks=4).unreliable


def test_families_of_observables() -> None:
    class Correlator(Ar1):
        observables = ("correlator_0", "correlator_1")

    result = run(Correlator(), sweeps=100)
    mean, error = result.array("correlator")
    assert mean.tolist() == [result["correlator_0"].mean, result["correlator_1"].mean]
    assert error.tolist() == [result["correlator_0"].error, result["correlator_1"].error]
    with pytest.raises(ValueError, match="prefix: expected"):
        result.array("energy")
    with pytest.raises(KeyError, match="'energy' is not among the observables: correlator_0, correlator_1"):
        result["energy"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sweeps": -1}, ValueError, "sweeps: expected an int >= 0, got -1"),
        ({"sweeps": 1.5}, TypeError, "sweeps: expected an int >= 0, got float"),
        ({"sweeps": 1, "warmup": True}, TypeError, "warmup: expected an int >= 0, got bool"),
        ({"sweeps": 1, "block": 0}, ValueError, "block: expected an int >= 1 or None, got 0"),
        ({"sweeps": 1, "progress": 3}, TypeError, "progress: expected a function"),
        ({"sweeps": 1, "time_limit": -1}, ValueError, "time_limit: expected a number of seconds >= 0"),
        ({"sweeps": 1, "time_limit": "1"}, TypeError, "time_limit: expected a real number"),
        ({"sweeps": 1, "checkpoint_seconds": float("nan")}, ValueError, "checkpoint_seconds: expected"),
        ({"sweeps": 1, "checkpoint": 3}, TypeError, "checkpoint: expected the path of a file or None"),
        ({"sweeps": 1, "previous": 3}, TypeError, "previous: expected a SampleResult"),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(Ar1(), **arguments)


def test_what_is_no_engine_is_refused() -> None:
    with pytest.raises(
        TypeError, match="engine: expected one with name, observables, config, start, advance"
    ):
        run(3, sweeps=1)  # type: ignore[arg-type]


def test_chains_that_were_not_kept_cannot_be_kept_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tally, "SERIES_BYTES", 100)
    part = run(Ar1(), sweeps=50)
    with pytest.raises(
        ValueError, match="keep_chains: expected False where only bins were kept so far, got True"
    ):
        run(Ar1(), sweeps=50, previous=part, keep_chains=True)


def test_results_of_other_runs_are_refused() -> None:
    part = run(Ar1(), sweeps=10, warmup=5)
    with pytest.raises(
        ValueError, match="previous: expected a result of the same run, got seed: 2 here, 1 there"
    ):
        run(Ar1(seed=2), sweeps=10, previous=part)


def broken(**parts: Any) -> Ar1:
    class Broken(Ar1):
        def advance(self, state: Any, first: int, sweeps: int, *, warmup: bool) -> Any:
            names = ("state", "measured", "accepted")
            whole = dict(zip(names, super().advance(state, first, sweeps, warmup=warmup), strict=True))
            return tuple({**whole, **parts}[name] for name in names)

    return Broken()


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"measured": torch.zeros(3, 2, 4)}, TypeError, "ar1: measured: expected float64, got torch.float32"),
        (
            {"measured": torch.zeros(3, 1, 4)},
            ValueError,
            r"ar1: measured: expected shape \(measurements, 2, 4\)",
        ),
        ({"measured": torch.zeros(2, 4)}, ValueError, "ar1: measured: expected shape"),
        ({"accepted": torch.zeros(2, 4)}, ValueError, r"ar1: accepted: expected shape \(chains,\)"),
    ],
)
def test_engines_that_break_their_word_are_refused(
    parts: dict[str, Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(broken(**parts), sweeps=3)


def test_configurations_have_to_be_json() -> None:
    class Odd(Ar1):
        def config(self) -> dict[str, Any]:
            return {"potential": torch.zeros(3)}

    with pytest.raises(TypeError, match="ar1: config: expected what JSON has"):
        run(Odd(), sweeps=1)


def test_observables_have_to_differ() -> None:
    class Twice(Ar1):
        observables = ("x", "x")

    with pytest.raises(ValueError, match=r"engine\.observables: expected names that differ"):
        run(Twice(), sweeps=1)
