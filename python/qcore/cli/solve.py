"""Solve a Schroedinger equation: a packet's motion as a picture or movie, the lowest states as a table."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from qcore import schrodinger
from qcore._interrupt import stopping_on_interrupt
from qcore.cli import solve_pictures
from qcore.cli.arguments import CommandError, integer, positive
from qcore.cli.motion import Motion, lowest_states, move, relax
from qcore.cli.potentials import POTENTIALS, covered, packet_transmission
from qcore.cli.problem import NumberList, Plan, Problem, Settings, read_problem
from qcore.cli.progress import step_progress
from qcore.cli.solve_output import (
    check_file,
    print_energies,
    print_rows,
    print_written,
    write_movie,
    write_numbers,
    write_picture,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BOUNDARIES = ("dirichlet", "periodic", "transparent")
_FRAMES = {1: 600, 2: 120}
_MOVIE_FRAMES = 120
_FEW_POINTS = 2**17  # too few to share: threads would wait for each other, and long where the CPUs are busy
_GAP_STEP, _GAP_TIME = 0.1, 30.0  # of imaginary time, times the energy of the first excitation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--potential",
        required=True,
        metavar="NAME|FILE",
        help=f"{', '.join(POTENTIALS)}, or a .npy file of its values at the grid points, (nx,) or (ny, nx)",
    )
    parser.add_argument(
        "--set",
        type=Settings(),
        metavar="NAME=X,...",
        help="parameters of a named potential, as in height=2,width=1",
    )
    numbers = NumberList()
    parser.add_argument("--points", type=integer(3, 2**24), metavar="N", help="grid points along each axis")
    parser.add_argument(
        "--box", type=numbers, nargs="+", metavar="X", help="its length, around 0; or its two ends"
    )
    parser.add_argument("--mass", type=positive, default=1.0, metavar="M", help="(default 1)")
    parser.add_argument("--hbar", type=positive, default=1.0, metavar="X", help="(default 1)")
    parser.add_argument("--boundary", choices=_BOUNDARIES, default="dirichlet", help="(default dirichlet)")
    parser.add_argument(
        "--packet",
        type=numbers,
        nargs="+",
        metavar="X",
        help="x0 k0 width: place, wave number, standard deviation of |psi|^2; in 2-D x0 y0 kx ky width",
    )
    parser.add_argument("--dt", type=positive, metavar="T", help="time step (default: by energy)")
    span = parser.add_mutually_exclusive_group()
    span.add_argument("--time", type=positive, metavar="T", help="how long it moves")
    span.add_argument("--steps", type=integer(1), metavar="N", help="how many steps it moves")
    parser.add_argument("--time-order", type=int, choices=(2, 4, 6, 8), help="(default 4; 2 in 2-D)")
    parser.add_argument(
        "--space-order", type=int, choices=(2, 4, 6), help="(default 4; 2 for the barrier, whose V jumps)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--states", type=integer(1), metavar="K", help="the K lowest states, and no motion")
    what.add_argument(
        "--imaginary",
        action="store_true",
        help="the ground state by imaginary time from a random start, and no motion",
    )
    parser.add_argument("--seed", type=integer(0), metavar="N", help="of that random start (default 0)")
    parser.add_argument("--movie", type=Path, metavar="GIF", help="write an animation")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="(default motion.png or states.png)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")


def run(arguments: argparse.Namespace) -> int:
    """Solve, print, draw. Returns 0, or 130 after Ctrl-C."""
    _check_together(arguments)
    for option, ending in (("movie", ".gif"), ("picture", ".png"), ("json", ".json")):
        check_file(option, getattr(arguments, option), ending)
    with _refusals():
        problem = read_problem(arguments)
        if problem.system.potential.numel() < _FEW_POINTS:
            torch.set_num_threads(1)
        print_rows(problem.headline())
        if arguments.states is not None:
            return _states(problem, arguments)
        if arguments.imaginary:
            return _relaxation(problem, arguments)
        return _motion(problem, arguments)


def _motion(problem: Problem, arguments: argparse.Namespace) -> int:
    plan = problem.plan(arguments)
    system, title = problem.system, problem.title
    axes = len(system.box.points)
    print_rows(plan.headline())
    with stopping_on_interrupt() as interrupt, step_progress("solve", plan.steps) as done:
        motion = move(
            system,
            plan.psi,
            dt=plan.dt,
            steps=plan.steps,
            time_order=plan.time_order,
            frames=min(plan.steps, _FRAMES[axes]),
            on_steps=done,
            should_stop=interrupt.is_set,
        )
    exact = problem.orbit(motion.times, plan.centre, plan.wave)
    _tell_motion(problem, motion, exact)
    numbers = _numbers(motion, exact)
    if plan.wells is not None:
        numbers["splitting"] = plan.wells
        period = 2.0 * math.pi * system.hbar / plan.wells
        print_rows([("splitting", f"{plan.wells:.8g}, the packet is back after {period:.6g}")])
    if plan.passes:
        numbers |= _transmission(problem, plan, motion)

    written = write_numbers(problem.settings() | plan.settings() | numbers, arguments.json)
    if arguments.picture is not None or arguments.movie is None:

        def draw() -> Figure:
            if axes == 1:
                return solve_pictures.motion(system, motion, title, exact)
            return solve_pictures.motion_2d(system, motion, title)

        written += write_picture(draw, arguments.picture, "motion.png")
    if arguments.movie is not None:
        shown = range(0, len(motion.times), -(-len(motion.times) // _MOVIE_FRAMES))
        film = solve_pictures.movie if axes == 1 else solve_pictures.movie_2d
        written += write_movie(film(system, motion, title, shown), len(shown), arguments.movie)
    print_written(written)
    if motion.finished:
        return 0
    print(
        f"qcore solve: interrupted after {motion.steps} of {plan.steps} steps; what is written ends there",
        file=sys.stderr,
    )
    return 130


def _tell_motion(problem: Problem, motion: Motion, exact: Tensor | None) -> None:
    """Print what is known of any motion."""
    box = problem.system.box
    norm, energy = motion.norm, motion.energy
    if box.boundary == "transparent":
        rows = [
            ("norm", f"{norm[-1]:.6g} is left in the box"),
            ("energy", f"{energy[-1]:.6g} of what is left"),
        ]
    else:
        rows = [("norm", f"{norm[-1]:.12f}, drift {_drift(norm):.1e}")]
        rows += [("energy", f"{energy[-1]:.10g}, drift {_drift(energy):.1e}")]
    for axis, name in enumerate("xy"[: len(box.points)]):
        text = f"{motion.mean[-1, axis]:.6g}, standard deviation {motion.spread[-1, axis]:.6g}"
        if exact is not None:
            text += f"; without walls exactly {exact[-1, axis]:.6g}"
        rows.append((f"mean {name}", text))
    speed = motion.steps * math.prod(box.points) / max(motion.seconds, 1e-9)
    print_rows([*rows, ("took", f"{motion.seconds:.2f} s, {speed:.2g} point-steps/s")])


def _numbers(motion: Motion, exact: Tensor | None) -> dict[str, Any]:
    return {
        "finished": motion.finished,
        "steps_done": motion.steps,
        "seconds": motion.seconds,
        "times": motion.times.tolist(),
        "norm": motion.norm.tolist(),
        "energy": motion.energy.tolist(),
        "potential_energy": motion.potential.tolist(),
        "mean": motion.mean.tolist(),
        "standard_deviation": motion.spread.tolist(),
        "exact_mean": None if exact is None else exact.tolist(),
    }


def _transmission(problem: Problem, plan: Plan, motion: Motion) -> dict[str, Any]:
    """How much of a packet is beyond the barrier, and how much of one from afar would get there."""
    system, p = problem.system, problem.parameters
    edge = p["width"] / 2.0
    regions = covered(system.box, 0, edge, math.inf), covered(system.box, 0, -math.inf, -edge)
    right, left = (
        float(schrodinger.transmission(motion.psi, region, spacing=system.spacing)) for region in regions
    )
    passed = right if plan.wave[0] > 0 else left
    exact = packet_transmission(plan.wave[0], plan.width, p["height"], p["width"], system.mass, system.hbar)
    inside = float(motion.norm[-1]) ** 2 - right - left
    print_rows([("transmission", f"{passed:.6f}; exact, averaged over the packet: {exact:.6f}")])
    if inside > 1e-3 and system.box.boundary != "transparent":
        print_rows([("", f"{inside:.2g} is still in the barrier: a longer --time lets it leave")])
    return {"transmission": passed, "transmission_exact": exact, "inside_barrier": inside}


def _states(problem: Problem, arguments: argparse.Namespace) -> int:
    count, system = arguments.states, problem.system
    total = math.prod(system.box.points)
    if count > total - 2:
        raise CommandError(f"--states: expected at most {total - 2}, for {total} grid points, got {count}")
    found = lowest_states(system, count)
    if not bool(found.converged.all()):
        worst = float(found.residuals.max())
        print(f"qcore solve: not converged, energies are right to {worst:.1e} only", file=sys.stderr)
    numbers = {"residuals": found.residuals.tolist()}
    _tell_states(problem, arguments, found.energies, found.states, numbers)
    return 0


def _relaxation(problem: Problem, arguments: argparse.Namespace) -> int:
    system = problem.system
    expected = lowest_states(system, 2).energies
    gap = float(expected[1] - expected[0])
    dt = arguments.dt or _GAP_STEP * system.hbar / gap
    steps = arguments.steps or max(1, round((arguments.time or _GAP_TIME * system.hbar / gap) / dt))
    time_order = arguments.time_order or 2
    seed = arguments.seed or 0
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(system.box.points, generator=generator, dtype=torch.float64)
    start = start / schrodinger.norm(start, spacing=system.spacing)
    with stopping_on_interrupt() as interrupt, step_progress("solve", steps) as done:
        times, energies, psi = relax(
            system,
            start,
            dt=dt,
            steps=steps,
            time_order=time_order,
            on_steps=done,
            should_stop=interrupt.is_set,
        )
    finished = len(times) == steps + 1
    span = f"{steps} of {dt:.4g}, to imaginary time {steps * dt:.6g}; order {time_order} in time"
    print_rows([("steps", f"{span}, {system.space_order} in space")])
    print_rows([("eigenvalue", f"{float(expected[0]):.10f}, the lowest of the same matrix")])
    numbers = {
        "dt": dt,
        "steps": steps,
        "time_order": time_order,
        "seed": seed,
        "finished": finished,
        "times": times.tolist(),
        "energy": energies.tolist(),
        "eigenvalue": float(expected[0]),
    }
    _tell_states(
        problem, arguments, energies[-1:], psi[None], numbers, relaxation=(times, energies - expected[0])
    )
    if finished:
        return 0
    print(
        f"qcore solve: interrupted after {len(times) - 1} of {steps} steps; what is written ends there",
        file=sys.stderr,
    )
    return 130


def _tell_states(
    problem: Problem,
    arguments: argparse.Namespace,
    energies: Tensor,
    states: Tensor,
    numbers: dict[str, Any],
    relaxation: tuple[Tensor, Tensor] | None = None,
) -> None:
    exact = problem.exact_energies(len(energies))
    print_energies(energies.tolist(), exact)
    values = {"energies": energies.tolist(), "exact_energies": exact}
    written = write_numbers(problem.settings() | values | numbers, arguments.json)

    def draw() -> Figure:
        return solve_pictures.states(problem.system, energies, states, problem.title, relaxation)

    print_written(written + write_picture(draw, arguments.picture, "states.png"))


def _check_together(arguments: argparse.Namespace) -> None:
    """Refuse options that would be passed over in silence."""
    mode, unused = "", ["seed"]
    if arguments.states is not None:
        mode, unused = "--states", ["packet", "dt", "time", "steps", "time_order", "seed", "movie"]
    elif arguments.imaginary:
        mode, unused = "--imaginary", ["packet", "movie"]
    for name in unused:
        if getattr(arguments, name) is not None:
            use = f"not allowed with {mode}" if mode else "only allowed with --imaginary"
            raise CommandError(f"--{name.replace('_', '-')}: {use}")
    if mode and arguments.boundary == "transparent":
        raise CommandError(f"--boundary: expected dirichlet or periodic with {mode}, got transparent")


def _drift(values: Tensor) -> float:
    return float((values - values[0]).abs().max())


@contextmanager
def _refusals() -> Iterator[None]:
    """What qcore.schrodinger refuses, as an error of the command."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from None
