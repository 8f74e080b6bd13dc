"""Stencil chains on a GPU: the cases of the design, with torch's forms as peers."""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor

from ..stencil.cases import DEPTHWISE, IMAGES, Case, Targets, make
from ..stencil.peers import PEERS, check, ours
from .rows import Contest, Peer, Place, Row

PREFIX = "gpu/stencil/"
PLANE, MANY, LARGE_IMAGES = (1, 1, 4096, 4096), (65536, 1, 28, 28), (512, 1, 128, 128)
QUICK_POINTS, QUICK_STEPS = 4096, 5

# Left out: chains compiled whole, which take minutes, and whose layers are kernels of their own all the same.
NAMES = ("conv", "conv channels_last", "slices compiled", "slices in place compiled")

# Asked of images that stay on chip, in 1e9 point-steps per second, and beside torch.
FORWARD, TRAIN = Targets(10, 1500), Targets(10, 400)

CASES = [
    Case(f"{PREFIX}forward/images", IMAGES, targets=FORWARD),
    Case(f"{PREFIX}train/images", IMAGES, train=True, targets=TRAIN),
    Case(f"{PREFIX}forward/plane", PLANE, targets=Targets(10)),
    Case(f"{PREFIX}train/plane", PLANE, train=True, targets=Targets(10)),
    Case(f"{PREFIX}forward/depthwise", DEPTHWISE, targets=FORWARD),
    Case(f"{PREFIX}train/depthwise", DEPTHWISE, train=True, targets=TRAIN),
    Case(f"{PREFIX}forward/many-images", MANY, targets=FORWARD),
    Case(f"{PREFIX}forward/images-128", LARGE_IMAGES, targets=Targets(10)),
    Case(f"{PREFIX}forward/images-bf16", IMAGES, dtype=torch.bfloat16),
]


def rows(quick: bool) -> list[Row]:
    """All rows, or the same in small."""
    return [_row(case.shrunk(QUICK_POINTS, QUICK_STEPS) if quick else case) for case in CASES]


def _row(case: Case) -> Row:
    return Row(
        case.name,
        case.label,
        "point-steps",
        case.point_steps,
        partial(prepare, case),
        operations=case.fma_per_point_step,
        dtype=case.dtype,
        bytes=case.bytes_per_point * case.point_steps / case.steps,
        ratio=case.targets.ratio,
        rate=None if case.targets.rate is None else case.targets.rate * 1e9,
    )


def prepare(case: Case, place: Place) -> Contest:
    """The arrays on the device, and the peers that fit."""
    problem = make(case, device=place.device)
    mine = ours(problem)

    @cache
    def expected() -> tuple[Tensor, ...]:
        return tuple(part.clone() for part in mine.read(mine.run()))

    fitting = [
        form
        for form in PEERS
        if form.name in NAMES and form.fits(case) and (place.compiled or not form.compiled)
    ]
    peers = [
        Peer(
            form.name,
            partial(form.build, problem),
            lambda got, name=form.name: check(name, got, expected(), case),
            case.point_steps,
        )
        for form in fitting
    ]
    return Contest(mine.run, peers)
