"""Crank-Nicolson steps on a GPU: many systems beside cuSPARSE, planes beside Fourier transforms."""

from __future__ import annotations

from functools import cache, partial

from torch import Tensor

from ..schrodinger import peers as forms
from ..schrodinger.cases import C64, FFT, Case, Targets, make
from ..schrodinger.peers import CHECK_STEPS, check, ours, split_step, with_steps
from . import cusparse
from .rows import Contest, Peer, Place, Row

PREFIX = "gpu/schrodinger/"
QUICK_POINTS, QUICK_STEPS = 4096, 5
CUSPARSE = ((cusparse.NAME, 5.0),)
FAST = {"dtype": C64, "arithmetic": "fast"}

CASES = [
    Case(f"{PREFIX}batch/complex64", (1024,), 65536, targets=Targets(CUSPARSE, 5e-3), **FAST),
    Case(f"{PREFIX}batch/complex128", (1024,), 65536, targets=Targets(CUSPARSE, 10e-3)),
    Case(f"{PREFIX}systems/complex128", (1024,), 1024, targets=Targets(CUSPARSE)),
    Case(f"{PREFIX}systems/complex64", (1024,), 1024, targets=Targets(CUSPARSE), **FAST),
    Case(f"{PREFIX}plane", (2048, 2048), targets=Targets(((FFT, 3.0),))),
    Case(f"{PREFIX}batch/complex64-wide", (1024,), 65536, dtype=C64),
]


def rows(quick: bool) -> list[Row]:
    """All rows, or the same in small."""
    return [_row(case.shrunk(QUICK_POINTS, QUICK_STEPS) if quick else case) for case in CASES]


def _row(case: Case) -> Row:
    against, ratio = case.targets.ratios[0] if case.targets.ratios else ("", None)
    return Row(
        case.name,
        case.label,
        "point-steps",
        case.point_steps,
        partial(prepare, case),
        operations=case.operations_per_point_step,
        dtype=case.compute,
        bytes=case.bytes_per_point * case.points,
        ratio=ratio,
        rate=None if case.targets.ns is None else 1e9 / case.targets.ns,
        against=against,
    )


def prepare(case: Case, place: Place) -> Contest:
    """The arrays on the device; peers make CHECK_STEPS steps at most, and are compared after these."""
    problem = make(case, place.device)
    few = with_steps(problem, min(case.steps, CHECK_STEPS))

    @cache
    def expected() -> Tensor:
        mine = ours(few)
        return mine.read(mine.run())

    def peer(form: forms.Peer) -> Peer:
        return Peer(
            form.name,
            partial(form.build, few),
            lambda got: check(form, got, expected(), case),
            few.case.point_steps,
        )

    split = forms.Peer(FFT, split_step, lambda case: True, exact=False)
    chosen = [split] if min(case.space) >= forms.RESOLVED else []
    if len(case.space) == 1 and place.cuda:
        solved = partial(cusparse.steps, compiled=place.compiled)
        chosen.append(forms.Peer(cusparse.NAME, solved, lambda case: True))
    return Contest(ours(problem).run, [peer(form) for form in chosen])
