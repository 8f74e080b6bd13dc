"""Sample quantum paths: energies and moments with errors beside exact ones, and a picture of the paths."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcore.cli import paths_field, paths_pictures
from qcore.cli.arguments import CommandError, integer, positive
from qcore.cli.paths_systems import SYSTEMS, Exact, System, exact, parameters_of
from qcore.cli.problem import Settings
from qcore.cli.progress import step_progress
from qcore.cli.solve_output import check_file, print_rows, print_written, write_numbers, write_picture
from qcore.paths import SampleResult, hmc, metropolis
from qcore.stats import Estimate
from qcore.stats._estimate import with_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCHEMES = ("trapezoid", "midpoint", "takahashi-imada")
_LINE = {"beta": 12.0, "mass": 1.0, "hbar": 1.0, "slices": 128, "scheme": "trapezoid"}  # not for a field
_BINS = 90  # of the density's histogram on either side
_ROWS = {  # what is printed of a particle: names of the sampler's, of the reader's, of the exact averages
    "energy_virial": ("energy, virial", "energy"),
    "energy_thermodynamic": ("thermodynamic", "energy"),
    "x2": ("<x^2>", "x2"),
    "x4": ("<x^4>", "x4"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    systems = [*SYSTEMS, "phi4"]
    parser.add_argument("--system", required=True, choices=systems, help="phi4 is a field on a lattice")
    parser.add_argument(
        "--set", type=Settings(), metavar="NAME=X,...", help="its parameters, as in omega=1,g=0.5"
    )
    parser.add_argument(
        "--beta", type=positive, metavar="X", help="inverse temperature; paths last hbar beta (default 12)"
    )
    parser.add_argument("--slices", type=integer(2, 2**20), metavar="N", help="steps of a path (default 128)")
    parser.add_argument(
        "--sites", type=integer(2, 4097), metavar="N", help="of each side of phi4 (default 32)"
    )
    parser.add_argument("--mass", type=positive, metavar="M", help="(default 1)")
    parser.add_argument("--hbar", type=positive, metavar="X", help="(default 1)")
    parser.add_argument(
        "--scheme", choices=_SCHEMES, help="of the action, metropolis only (default trapezoid)"
    )
    parser.add_argument("--sampler", choices=("metropolis", "hmc"), help="(default metropolis; phi4: hmc)")
    parser.add_argument(
        "--chains", type=integer(1, 2**20), metavar="N", help="at once (default 256; phi4: 64)"
    )
    parser.add_argument("--sweeps", type=integer(1), metavar="N", help="measured ones (default 2000)")
    parser.add_argument("--warmup", type=integer(0), metavar="N", help="sweeps before them (default 500)")
    parser.add_argument("--seed", type=integer(0, 2**64), default=0, metavar="N", help="(default 0)")
    parser.add_argument("--out", type=Path, metavar="PNG", help="the picture (default paths.png)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")


def run(arguments: argparse.Namespace) -> int:
    """Sample, print, draw. Returns 0, or 130 after Ctrl-C."""
    field = arguments.system == "phi4"
    _check_together(arguments, field)
    check_file("out", arguments.out, ".png")
    check_file("json", arguments.json, ".json")
    settings: dict[str, Any] = {"system": arguments.system, "seed": arguments.seed}
    settings["sweeps"] = 2000 if arguments.sweeps is None else arguments.sweeps
    settings["warmup"] = 500 if arguments.warmup is None else arguments.warmup
    settings["chains"] = arguments.chains or (64 if field else 256)
    with _refusals():
        return _field(arguments, settings) if field else _particle(arguments, settings)


def _particle(arguments: argparse.Namespace, settings: dict[str, Any]) -> int:
    system = SYSTEMS[arguments.system]
    for name, default in _LINE.items():
        given = getattr(arguments, name)
        settings[name] = default if given is None else given
    settings["sampler"] = arguments.sampler or "metropolis"
    p = parameters_of(arguments.system, system.parameters, system.positive, arguments.set)
    coefficients = system.coefficients(p, settings["mass"])
    step = settings["hbar"] * settings["beta"] / settings["slices"]
    values = ", ".join(f"{name} = {value:g}" for name, value in p.items())
    print_rows(
        [
            ("potential", f"{system.formula}; {values}"),
            (
                "paths",
                f"{settings['chains']} closed ones of {settings['slices']} steps of {step:.4g}, "
                f"beta {settings['beta']:g}, {settings['scheme']} rule",
            ),
        ]
    )
    known = exact(
        coefficients, **{name: settings[name] for name in ("mass", "hbar", "beta", "slices", "scheme")}
    )
    lags = sorted({round(k * settings["slices"] / 32) for k in range(17)})
    edge = float(known.x[-1])
    result, seconds = _sampled(
        settings, lambda progress: _sample(system, coefficients, settings, lags, edge, progress)
    )
    if not result.sweeps:
        return _nothing(result)
    _print_run(result, settings)
    rows = []
    for name, (label, key) in _ROWS.items():
        here = None if known.lattice is None else getattr(known.lattice, key)
        continuum = None if known.means is None else getattr(known.means, key)
        rows.append((label, result[name], here, continuum))
    _print_table(rows, ("this step", "no step"), result.seconds)
    first, second = known.levels
    print_rows([("levels", f"E0 = {first:.10g}, E1 - E0 = {second - first:.8g}, without time steps")])
    numbers = _numbers(result, seconds) | _exact_numbers(known)
    numbers = settings | {"parameters": p, "dt": step, "lags": lags} | numbers

    def draw() -> Figure:
        title = f"{settings['system']}: {system.formula}, {values}"
        return paths_pictures.particle(result, known, settings, lags, title)

    return _written(arguments, result, numbers, draw)


def _sample(
    system: System,
    coefficients: list[float],
    settings: dict[str, Any],
    lags: list[int],
    edge: float,
    progress: Callable[[int], object],
) -> SampleResult:
    names = ("beta", "slices", "mass", "hbar", "chains", "sweeps", "warmup", "seed")
    common = {name: settings[name] for name in names} | {"lags": lags, "progress": progress}
    if settings["sampler"] == "hmc":
        return hmc(coefficients, **common, fourier_acceleration=True)
    bins = (-edge, edge, 2 * _BINS)
    return metropolis(coefficients, **common, scheme=settings["scheme"], moves=system.moves, histogram=bins)


def _field(arguments: argparse.Namespace, settings: dict[str, Any]) -> int:
    settings["sampler"] = "hmc"
    settings["sites"] = arguments.sites or 32
    p = parameters_of("phi4", paths_field.PARAMETERS, (), arguments.set)
    paths_field.require_minimum(p)
    print_rows(paths_field.headline(p, settings))
    result, seconds = _sampled(settings, lambda progress: paths_field.sample(p, settings, progress))
    if not result.sweeps:
        return _nothing(result)
    _print_run(result, settings)
    rows = paths_field.rows(result, p, settings)
    _print_table([(label, found, known, None) for label, found, known in rows], ("exact",), result.seconds)
    balance = paths_field.balance(result, p)
    half = with_error(float(balance.value), float(balance.error))
    print_rows([("check", f"action / site + coupling <phi^4> = {half}, exactly 1/2")])
    known: dict[str, Any] = {label: value for label, _, value in rows if value is not None}
    known["balance"] = {"value": float(balance.value), "error": float(balance.error), "exact": 0.5}
    numbers = settings | {"parameters": p, "exact": known} | _numbers(result, seconds)

    def draw() -> Figure:
        return paths_pictures.field(result, p, settings)

    return _written(arguments, result, numbers, draw)


def _sampled(
    settings: dict[str, Any], sample: Callable[[Callable[[int], object]], SampleResult]
) -> tuple[SampleResult, float]:
    """The result of a sampler that is told where to report its sweeps, and how long it took."""
    began, last = time.perf_counter(), 0
    total = settings["warmup"] + settings["sweeps"]
    with step_progress("paths", total, "sweeps") as done:

        def progress(sweeps: int) -> None:
            nonlocal last
            done(sweeps - last)
            last = sweeps

        result = sample(progress)
    return result, time.perf_counter() - began


def _print_run(result: SampleResult, settings: dict[str, Any]) -> None:
    accepted = result.acceptance
    print_rows(
        [
            (
                "sampler",
                f"{result.name}: {result.sweeps} sweeps after {result.warmup} of warm-up, "
                f"{result.seconds:.2f} s, seed {settings['seed']}",
            ),
            ("acceptance", f"{float(accepted.mean()):.3f}"),
        ]
    )


def _print_table(
    rows: list[tuple[str, Estimate, float | None, float | None]], titles: tuple[str, ...], seconds: float
) -> None:
    head = f"\n{'':<14}  {'mean (error)':>16}" + "".join(f"  {title:>12}" for title in titles)
    print(head + f"  {'off':>6}  {'tau':>6}  {'ESS':>9}  {'ESS/s':>9}")
    for label, found, first, second in rows:
        line = f"{label:<14}  {with_error(found.mean, found.error):>16}"
        for value in (first, second)[: len(titles)]:
            line += f"  {'' if value is None else f'{value:.6f}':>12}"
        off = "" if first is None or not found.error > 0 else f"{(found.mean - first) / found.error:+.1f}"
        rate = f"{found.ess / seconds:.3g}" if seconds > 0 else ""
        line += f"  {off:>6}  {found.tau_int:>6.2f}  {found.ess:>9.0f}  {rate:>9}"
        print(line + ("  unreliable" if found.unreliable else ""))
    print("off: from the exact value, in errors; tau = 1/2 + sum of autocorrelations, in sweeps\n")


def _numbers(result: SampleResult, seconds: float) -> dict[str, Any]:
    return {
        "finished": not result.stopped,
        "sweeps_done": result.sweeps,
        "warmup_done": result.warmup,
        "seconds": seconds,
        "acceptance": float(result.acceptance.mean()),
        "estimates": {
            name: {
                "mean": found.mean,
                "error": found.error,
                "tau_int": found.tau_int,
                "ess": found.ess,
                "ess_per_second": found.ess / result.seconds if result.seconds > 0 else None,
                "unreliable": found.unreliable,
            }
            for name, found in result.estimates.items()
        },
    }


def _exact_numbers(known: Exact) -> dict[str, Any]:
    return {
        "levels": known.levels,
        "exact_this_step": None if known.lattice is None else vars(known.lattice),
        "exact_no_step": None if known.means is None else vars(known.means),
    }


def _written(
    arguments: argparse.Namespace, result: SampleResult, numbers: dict[str, Any], draw: Callable[[], Figure]
) -> int:
    written = write_numbers(numbers, arguments.json)
    print_written(written + write_picture(draw, arguments.out, "paths.png", command="paths", option="out"))
    if not result.stopped:
        return 0
    print(
        f"qcore paths: interrupted after {result.sweeps} of {numbers['sweeps']} sweeps; what is written "
        "rests on these",
        file=sys.stderr,
    )
    return 130


def _nothing(result: SampleResult) -> int:
    print(
        f"qcore paths: interrupted after {result.warmup} sweeps of warm-up; nothing was measured",
        file=sys.stderr,
    )
    return 130


def _check_together(arguments: argparse.Namespace, field: bool) -> None:
    """Refuse options that would be passed over in silence."""
    unused = [*_LINE] if field else ["sites"]
    for name in unused:
        if getattr(arguments, name) is not None:
            use = "not allowed with phi4" if field else "only allowed with phi4"
            raise CommandError(f"--{name}: {use}")
    if field and arguments.sampler == "metropolis":
        raise CommandError("--sampler: expected hmc with phi4, got metropolis")
    if arguments.sampler == "hmc" and arguments.scheme not in (None, "trapezoid"):
        raise CommandError(f"--scheme: expected trapezoid with hmc, got {arguments.scheme}")


@contextmanager
def _refusals() -> Iterator[None]:
    """What qcore.paths refuses, as an error of the command."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from None
