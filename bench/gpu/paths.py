"""Sums over paths, actions and samplers on a GPU, beside torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor

from ..paths import action, hmc, metropolis, transfer
from ..timing import Disagreement, Run
from .rows import Contest, Peer, Place, Plain, Row

PREFIX = "gpu/paths/"
RATIO = 20.0  # asked of sums and of bead updates, beside the best of torch
SAME = 1e-4  # of actions, relative to the largest
EQUILIBRIUM_SWEEPS, SIGMAS = 1000, 6.0  # how samplers are compared

TRANSFERS = [
    transfer.Case(f"{PREFIX}transfer/f32", batch=4096),
    transfer.Case(f"{PREFIX}transfer/long", batch=1, sites=1_000_000),
    transfer.Case(f"{PREFIX}transfer/log", semiring="log", batch=4096),
    transfer.Case(f"{PREFIX}transfer/complex", semiring="complex", dtype="complex64", batch=1024),
]
ACTIONS = [
    action.Case(f"{PREFIX}action/quartic", (2**20, 129)),
    action.Case(f"{PREFIX}action/quartic-gradient", (2**18, 129), "gradient"),
]
BEADS = metropolis.Case(f"{PREFIX}metropolis/single-f32", 64, 100_000, torch.float32, sweeps=100)
FIELDS = [
    hmc.Case(f"{PREFIX}hmc/phi4-{side}", True, side, chains, torch.float32)
    for side, chains in ((16, 16384), (32, 8192), (64, 2048))
]


def rows(quick: bool) -> list[Row]:
    """All rows, or the same in small."""
    transfers = [case.shrunk() if quick else case for case in TRANSFERS]
    actions = [action.shrunk(case) if quick else case for case in ACTIONS]
    beads = replace(BEADS, slices=16, chains=64, sweeps=4) if quick else BEADS
    fields = [replace(case, chains=2, trajectories=1) if quick else case for case in FIELDS]
    made = [
        *map(_sum_row, transfers),
        *map(_action_row, actions),
        _bead_row(beads),
        *map(_field_row, fields),
    ]
    return [replace(row, ratio=None, rate=None) for row in made] if quick else made


def _torch_forms(make: Callable[..., Run], place: Place) -> dict[str, Callable[[], Plain]]:
    """Eager and compiled, of what takes `compiled`."""
    kinds = {"torch eager": False, **({"torch compiled": True} if place.compiled else {})}
    return {
        name: lambda compiled=compiled: Plain(make(compiled=compiled)) for name, compiled in kinds.items()
    }


# --- sums ---


def _sum_row(case: transfer.Case) -> Row:
    return Row(
        case.name,
        f"{case.batch} x {case.sites} sites, {case.kernel} taps, T={case.steps} {case.dtype}",
        "taps",
        case.taps * case.steps,
        partial(_sums, case),
        operations=case.operations,
        bytes=2.0 * case.batch * case.sites * getattr(torch, case.dtype).itemsize,
        ratio=RATIO,
        rate=2e12 if case.semiring == "real" else None,
    )


def _sums(case: transfer.Case, place: Place) -> Contest:
    problem = transfer.make(case, place.device)
    few = replace(case, steps=min(case.steps, transfer.PEER_STEPS))

    @cache
    def expected() -> Tensor:
        return transfer.ours(few, problem)()  # type: ignore[no-any-return]

    forms = {name: form for name, form in transfer.peers_of(case).items() if name != "linear"}
    if case.semiring == "log":
        forms["torch logsumexp compiled"] = transfer.windows(transfer.logsumexp, compiled=True)
    peers = [
        Peer(
            name,
            lambda form=form: Plain(form(few, problem)),
            lambda got, name=name: transfer.check(name, got, expected()),
            few.taps * few.steps,
        )
        for name, form in forms.items()
        if place.compiled or "compiled" not in name
    ]
    return Contest(transfer.ours(case, problem), peers)


# --- actions ---


def _action_row(case: action.Case) -> Row:
    label = f"{case.shape[0]} paths of {case.shape[1]} points, {case.scheme}, {case.kind}, float32"
    traffic = 4.0 * case.slices * (2 if case.kind == "gradient" else 1)
    return Row(case.name, label, "slices", case.slices, partial(_actions, case), bytes=traffic, ratio=3.0)


def _actions(case: action.Case, place: Place) -> Contest:
    x = action.make(case, place.device)
    mine = action.ours(case, x)
    expected = cache(lambda: mine().double())

    def check(name: str, got: Tensor) -> None:
        error = float((got.double() - expected()).abs().max() / expected().abs().max())
        if not error < SAME:
            raise Disagreement(f"{case.name}: {name} differs by {error:.1e}")

    forms = _torch_forms(partial(action.theirs, case, x), place)
    peers = [Peer(name, form, partial(check, name), case.slices) for name, form in forms.items()]
    return Contest(mine, peers)


# --- samplers ---


def _bead_row(case: metropolis.Case) -> Row:
    label = f"{case.chains} chains of {case.slices} beads, {case.sweeps} sweeps, float32"
    chosen = partial(_beads, case)
    return Row(case.name, label, "updates", case.updates, chosen, ratio=RATIO, rate=1e11)


def _beads(case: metropolis.Case, place: Place) -> Contest:
    long = replace(case, sweeps=EQUILIBRIUM_SWEEPS)

    @cache
    def agreement() -> str:
        """Both in equilibrium: <x^2> with its error from independent chains. Empty where they agree."""
        state, *_ = metropolis.ours(long, place.device)()
        theirs = metropolis.torch_checkerboard(long, place.device, compiled=False)()
        squares = [part.double().square().flatten(0, -2).mean(0) for part in (state["x"], theirs)]
        (a, b), errors = (s.mean() for s in squares), [s.std() / len(s) ** 0.5 for s in squares]
        allowed = SIGMAS * float(torch.stack(errors).square().sum().sqrt())
        apart = abs(float(a - b))
        return "" if apart <= allowed else f"<x^2> differs by {apart:.2e}, at most {allowed:.2e} is allowed"

    def check(name: str, _: Tensor) -> None:
        if agreement():
            raise Disagreement(f"{case.name}: {name}: {agreement()}")

    forms = _torch_forms(partial(metropolis.torch_checkerboard, case, place.device), place)
    peers = [Peer(name, form, partial(check, name), case.updates) for name, form in forms.items()]
    return Contest(metropolis.ours(case, place.device), peers)


def _field_row(case: hmc.Case) -> Row:
    label = f"{case.chains} lattices of {case.side} x {case.side}, {hmc.STEPS} steps a trajectory, float32"
    return Row(
        case.name, label, "site-steps", case.site_steps, partial(_fields, case), ratio=hmc.TARGET_RATIO
    )


def _fields(case: hmc.Case, place: Place) -> Contest:
    forms = _torch_forms(partial(hmc.torch_trajectories, case, place.device), place)
    peers = [
        Peer(name, form, lambda _: hmc.check(case, place.device), case.site_steps)
        for name, form in forms.items()
    ]
    return Contest(hmc.ours(case, place.device), peers)
