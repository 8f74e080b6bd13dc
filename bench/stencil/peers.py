"""The same chains as a torch user would write them, each checked against qcore's result before it is timed.

Two forms: a depthwise convolution per layer, and sums of shifted slices. Each in several layouts, eager and
compiled, a layer at a time or the whole chain at once. The skip is part of the centre tap throughout, which
saves a pass over the field. Not among them, since they gave nothing: max-autotune (there are no templates for
these loops on a CPU), and a backward of the slices derived by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from qcore import stencil

from ..timing import Disagreement
from .cases import Case, Problem, last

PAD_MODES = {"zero": "constant", "periodic": "circular", "reflect": "reflect", "replicate": "replicate"}
CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}

# Largest distance ||a - b|| / ||b|| between results that count as the same. Gradients get more room: rounding
# decides on which side of its kink a ReLU falls for a few points. Half types get more: the peers round after
# every layer.
FORWARD_TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.bfloat16: 3e-2}
TRAIN_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-2, torch.bfloat16: 2e-1}


@dataclass(frozen=True)
class Runner:
    """What is timed, and how its outcome is read: (y,) or (grad_x, grad_taps on the stencil)."""

    run: Callable[[], Any]
    read: Callable[[Any], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Form:
    """A way of writing a chain: `leave(step(... step(enter(x), w_1) ..., w_T))` with w = spread(weights)."""

    step: Callable[[Tensor, Tensor], Tensor]
    weights: Tensor  # what training takes gradients to
    taps: Callable[[Tensor], Tensor]  # gradient to the weights -> to the stencil's taps (T, C, P)
    x: Tensor
    grad_y: Tensor
    enter: Callable[[Tensor], Tensor] = lambda x: x
    leave: Callable[[Tensor], Tensor] = lambda u: u
    spread: Callable[[Tensor], Tensor] = lambda w: w


@dataclass(frozen=True)
class Peer:
    """A form and a way of running it.

    Args:
        name: as it stands in the report.
        build: the runner for a problem.
        fits: the cases it can run.
        usual: timed in every case, not just in the thorough ones.
        compiled: needs torch.compile, hence a C++ compiler.
        whole: compiled as one chain, which takes the longer the more steps there are.
    """

    name: str
    build: Callable[[Problem], Runner]
    fits: Callable[[Case], bool] = lambda case: True
    usual: bool = False
    compiled: bool = False
    whole: bool = False


def ours(problem: Problem) -> Runner:
    """qcore through its public function."""
    case = problem.case
    chain = partial(stencil.residual_chain, boundary=case.boundary)
    if not case.train:
        return Runner(_without_grad(lambda: chain(problem.x, problem.taps)), lambda y: (y,))
    x, taps = problem.x.clone().requires_grad_(), problem.taps.clone().requires_grad_()

    def run() -> tuple[Tensor, ...]:
        return torch.autograd.grad(chain(x, taps), (x, taps), problem.grad_y)

    return Runner(run, lambda grads: (grads[0], problem.on_stencil(grads[1])))


def check(name: str, got: tuple[Tensor, ...], expected: tuple[Tensor, ...], case: Case) -> None:
    """Refuse a peer whose result is not qcore's.

    Raises:
        Disagreement: with the distance, relative in the 2-norm, and what was allowed.
    """
    tolerance = (TRAIN_TOLERANCE if case.train else FORWARD_TOLERANCE)[case.dtype]
    parts = ("grad_x", "grad_taps") if case.train else ("y",)
    for part, a, b in zip(parts, got, expected, strict=True):
        where = f"{case.name} {case.label}: {part} of '{name}'"
        if a.shape != b.shape:
            raise Disagreement(f"{where} has shape {tuple(a.shape)}, qcore's {tuple(b.shape)}")
        distance = ((a.double() - b.double()).norm() / b.double().norm()).item()
        if not distance <= tolerance:  # nor if it is nan
            raise Disagreement(f"{where} is {distance:.1e} from qcore's, at most {tolerance:.1e} is allowed")


# --- the forms ---


def convolution(problem: Problem, *, inplace: bool, channels_last: bool = False) -> Form:
    """relu(conv(u)) with as many groups as channels."""
    case, merged = problem.case, problem.merged
    conv, pad = CONVOLUTIONS[case.dims - 1], [case.size // 2] * (2 * case.dims)
    relu = torch.relu_ if inplace else torch.relu

    def step(u: Tensor, w: Tensor) -> Tensor:
        if case.boundary == "zero":
            return relu(conv(u, w, padding=case.size // 2, groups=u.shape[1]))
        return relu(conv(F.pad(u, pad, PAD_MODES[case.boundary]), w, groups=u.shape[1]))

    x, grad_y = problem.x, problem.grad_y
    if channels_last:
        x, grad_y = (a.contiguous(memory_format=CHANNELS_LAST[case.dims]) for a in (x, grad_y))
    return Form(step, merged.unsqueeze(2), lambda grad: problem.on_stencil(grad.squeeze(2)), x, grad_y)


def convolution_of_images_as_channels(problem: Problem, *, inplace: bool) -> Form:
    """The convolution of one image with B * C channels, innermost in memory: vectors run over images."""
    form = convolution(problem, inplace=inplace)
    shape, layout = problem.x.shape, CHANNELS_LAST[problem.case.dims]
    return Form(
        form.step,
        form.weights,
        form.taps,
        problem.x,
        problem.grad_y,
        enter=lambda x: x.flatten(0, 1).unsqueeze(0).contiguous(memory_format=layout),
        leave=lambda u: u.reshape(shape).contiguous(),
        spread=lambda w: w.repeat(1, shape[0], *[1] * (w.ndim - 2)),
    )


def slices(problem: Problem) -> Form:
    """relu of the sum over the stencil's taps of weight times shifted field; no other tap is touched."""
    case, points, space = problem.case, problem.case.points, problem.x.shape[2:]
    pad = [case.size // 2] * (2 * case.dims)
    weights = problem.on_stencil(problem.merged).transpose(1, 2)  # (T, P, C)

    def step(u: Tensor, w: Tensor) -> Tensor:
        return torch.relu(weighted_windows(F.pad(u, pad, PAD_MODES[case.boundary]), w, points, space, axis=2))

    spaced = weights.reshape(*weights.shape, *[1] * case.dims)
    return Form(step, spaced, lambda grad: grad.flatten(2).transpose(1, 2), problem.x, problem.grad_y)


def slices_images_innermost(problem: Problem) -> Form:
    """The slices of a field kept as (*S, B * C), so that compiled loops run over images. Zero boundary."""
    case, points, shape = problem.case, problem.case.points, problem.x.shape
    pad = [0, 0] + [case.size // 2] * (2 * case.dims)
    weights = problem.on_stencil(problem.merged).transpose(1, 2)

    def step(u: Tensor, w: Tensor) -> Tensor:
        return torch.relu(weighted_windows(F.pad(u, pad), w, points, shape[2:], axis=0))

    def spread(w: Tensor) -> Tensor:
        every = w if shape[1] == 1 else w.repeat(1, 1, shape[0])
        return every.reshape(*w.shape[:2], *[1] * case.dims, -1)

    return Form(
        step,
        weights,
        lambda grad: grad.transpose(1, 2),
        problem.x,
        problem.grad_y,
        enter=lambda x: x.flatten(0, 1).movedim(0, -1).contiguous(),
        leave=lambda u: u.movedim(-1, 0).reshape(shape),
        spread=spread,
    )


def weighted_windows(
    padded: Tensor, w: Tensor, points: list[tuple[int, ...]], space: torch.Size, axis: int
) -> Tensor:
    """Sum over the taps p of w[p] times the padded field from p on; the space axes start at `axis`."""
    weights = w.unbind(0)
    total = weights[0] * window(padded, points[0], space, axis)
    for weight, point in zip(weights[1:], points[1:], strict=True):
        total = torch.addcmul(total, weight, window(padded, point, space, axis))
    return total


def window(padded: Tensor, start: tuple[int, ...], space: torch.Size, axis: int) -> Tensor:
    """Of a padded field the part of size `space` from `start` on; the space axes start at `axis`."""
    for number, (first, n) in enumerate(zip(start, space, strict=True)):
        padded = padded.narrow(axis + number, first, n)
    return padded


# --- ways of running a form ---


def layer_by_layer(make: Callable[[Problem], Form], compiled: bool, problem: Problem) -> Runner:
    """A Python loop over the layers, each eager or each a call of one compiled function."""
    form = make(problem)
    step = compile_(form.step) if compiled else form.step

    def chain(x: Tensor, weights: list[Tensor]) -> Tensor:
        u = form.enter(x)
        for w in weights:
            u = step(u, w)
        return form.leave(u)

    return _runner(problem, form, chain)


def whole_chain(make: Callable[[Problem], Form], problem: Problem) -> Runner:
    """All layers unrolled into one compiled function."""
    form = make(problem)

    @compile_
    def chain(x: Tensor, weights: list[Tensor]) -> Tensor:
        u = form.enter(x)
        for w in weights:
            u = form.step(u, w)
        return form.leave(u)

    return _runner(problem, form, chain)


def frozen_chain(problem: Problem) -> Runner:
    """The whole chain of convolutions with frozen weights: oneDNN's convolution, the ReLU fused into it."""
    form = convolution(problem, inplace=False, channels_last=_has_channels(problem.case))

    class Chain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.ParameterList(w.clone() for w in form.weights.unbind(0))

        def forward(self, u: Tensor) -> Tensor:
            for w in self.weights:
                u = form.step(u, w)
            return u

    chain = compile_(Chain().eval(), options={"freezing": True})
    return Runner(_without_grad(lambda: chain(form.x)), lambda y: (y,))


def slices_in_place(problem: Problem) -> Runner:
    """A compiled layer from one padded buffer into another, both kept between calls: nothing allocated."""
    case, form = problem.case, slices(problem)
    space, points = problem.x.shape[2:], case.points
    inner = last(slice(case.size // 2, case.size // 2 + n) for n in space)
    source = F.pad(problem.x, [case.size // 2] * (2 * case.dims))
    buffers, y = (source, torch.zeros_like(source)), torch.empty_like(problem.x)
    weights = form.weights.unbind(0)

    @compile_
    def step(padded: Tensor, w: Tensor, out: Tensor) -> None:
        out[inner] = torch.relu(weighted_windows(padded, w, points, space, axis=2))

    def run() -> Tensor:
        u, spare = buffers
        u[inner] = problem.x
        for w in weights:
            step(u, w, spare)
            u, spare = spare, u
        return y.copy_(u[inner])

    return Runner(_without_grad(run), lambda result: (result,))


def compile_(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """torch.compile for fixed shapes; a silent fall back to eager is an error."""
    compiled: Callable[..., Any] = torch.compile(function, fullgraph=True, dynamic=False, **options)
    return compiled


@contextmanager
def compilations() -> Iterator[None]:
    """Room for the compiled functions of one case, which are forgotten at its end."""
    # They differ in shapes and layouts, a few each. torch's limit is for code that meets new shapes for ever.
    with torch._dynamo.config.patch(recompile_limit=64):
        try:
            yield
        finally:
            torch._dynamo.reset()


def _runner(problem: Problem, form: Form, chain: Callable[[Tensor, list[Tensor]], Tensor]) -> Runner:
    if not problem.case.train:
        weights = list(form.spread(form.weights).unbind(0))
        return Runner(_without_grad(lambda: chain(form.x, weights)), lambda y: (y,))
    x, leaf = form.x.clone().requires_grad_(), form.weights.clone().requires_grad_()

    def run() -> tuple[Tensor, ...]:
        y = chain(x, list(form.spread(leaf).unbind(0)))
        return torch.autograd.grad(y, (x, leaf), form.grad_y)

    return Runner(run, lambda grads: (grads[0], form.taps(grads[1])))


def _without_grad(run: Callable[[], Any]) -> Callable[[], Any]:
    return torch.no_grad()(run)


# --- all of them ---


def _has_channels(case: Case) -> bool:
    return case.shape[1] > 1 and case.dims in CHANNELS_LAST


def _has_images(case: Case) -> bool:
    return case.shape[0] > 1 and case.dims in CHANNELS_LAST


def _forward(case: Case) -> bool:
    return not case.train


def _forward_zero_edge(case: Case) -> bool:
    return not case.train and case.boundary == "zero"


def _images_zero_edge(case: Case) -> bool:
    return case.shape[0] > 1 and case.boundary == "zero"


_conv, _conv_ = partial(convolution, inplace=False), partial(convolution, inplace=True)
_last, _last_ = partial(_conv, channels_last=True), partial(_conv_, channels_last=True)
_as_channels = partial(convolution_of_images_as_channels, inplace=True)

PEERS = [
    Peer("conv", partial(layer_by_layer, _conv_, False), usual=True),
    Peer("conv channels_last", partial(layer_by_layer, _last_, False), _has_channels, usual=True),
    Peer("conv, images as channels", partial(layer_by_layer, _as_channels, False), _has_images),
    Peer("conv compiled", partial(layer_by_layer, _conv, True), usual=True, compiled=True),
    Peer(
        "conv channels_last compiled",
        partial(layer_by_layer, _last, True),
        _has_channels,
        usual=True,
        compiled=True,
    ),
    Peer("conv chain compiled", partial(whole_chain, _conv), compiled=True, whole=True),
    Peer(
        "conv channels_last chain compiled",
        partial(whole_chain, _last),
        _has_channels,
        compiled=True,
        whole=True,
    ),
    Peer("conv chain frozen", frozen_chain, _forward, compiled=True, whole=True),
    Peer("slices", partial(layer_by_layer, slices, False)),
    Peer("slices compiled", partial(layer_by_layer, slices, True), usual=True, compiled=True),
    Peer("slices in place compiled", slices_in_place, _forward_zero_edge, usual=True, compiled=True),
    Peer(
        "slices, images innermost compiled",
        partial(layer_by_layer, slices_images_innermost, True),
        _images_zero_edge,
        compiled=True,
    ),
    Peer("slices chain compiled", partial(whole_chain, slices), compiled=True, whole=True),
]


def peers_of(case: Case, *, compiled: bool = True) -> list[Peer]:
    """The peers a case is timed against: the usual ones, or all that fit a thorough case."""
    return [
        peer
        for peer in PEERS
        if peer.fits(case) and (peer.usual or case.thorough) and (compiled or not peer.compiled)
    ]
