"""What a call keeps for its backward; gradients under memory layouts, half storage, empty and tiny fields."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from qcore._ops import stencil as ops
from qcore.stencil import residual_chain

from .transforms import PAD, directions, inputs

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

SETTINGS = (1.0, "tanh", 0.01, "zero")

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.mT.contiguous().mT,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "sliced": lambda x: torch.cat([x, x], -1)[..., ::2],
    "flipped channels": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "expanded": lambda x: x[:1, :, :1].expand(x.shape),
    "no batch": lambda x: x[:0],
    "size 1": lambda x: x[:1, :, :1, :1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_opcheck(layout: str) -> None:
    """torch's own check of schema, fake and compiled behaviour; a wrong stride shows on odd layouts only."""
    x, taps, bias = inputs()
    x = LAYOUTS[layout](x)
    y, states, checkpoints = ops.saved(x, taps, bias, *SETTINGS, 2, 1, "auto")
    grads = LAYOUTS["transposed"](y), states
    torch.library.opcheck(ops.forward, (x, taps[:, :1].expand(-1, 2, -1, -1), None, *SETTINGS, "auto"))
    torch.library.opcheck(ops.saved, (x, taps, bias, *SETTINGS, 2, 1, "auto"))
    torch.library.opcheck(ops.backward, (*grads, x, checkpoints, taps, bias, *SETTINGS, 2, 1, "auto", True))


def test_opcheck_of_gradients_left_out() -> None:
    x, taps, bias = inputs()
    torch.library.opcheck(ops.backward, (x, None, x, None, taps, bias, *SETTINGS, 0, 0, "auto", False))
    torch.library.opcheck(ops.backward, (x, None, x, None, taps, None, *SETTINGS, 0, 0, "auto", True))
    leaves = tuple(t.requires_grad_() for t in (x, taps, bias))
    torch.library.opcheck(ops.forward, (*leaves, *SETTINGS, "auto"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_the_values_and_gradients_of_contiguous_tensors(layout: str) -> None:
    x, taps, bias = inputs()
    strided = LAYOUTS[layout](x).requires_grad_()
    plain = strided.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    results = []
    for leaf in (strided, plain):
        y = residual_chain(leaf, taps, bias=bias, activation="tanh")
        assert y.is_contiguous()
        results.append((y, *torch.autograd.grad(y.pow(2).sum(), leaf)))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_fake_tensors_have_the_shapes_and_strides_of_real_ones() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    def results(x: Tensor, taps: Tensor, bias: Tensor) -> list[Tensor]:
        y, states = residual_chain(x, taps, bias=bias, states_every=2)
        return [y, states, *torch.autograd.grad(y.sum() + states.sum(), (x, taps, bias))]

    real = tuple(t.requires_grad_() for t in inputs())
    with FakeTensorMode() as mode:
        fakes = results(*(mode.from_tensor(t) for t in real))
    for fake, expected in zip(fakes, results(*real), strict=True):
        assert (fake.shape, fake.dtype, fake.stride()) == (expected.shape, expected.dtype, expected.stride())


# --- half storage ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("own_taps", [True, False])
def test_half_gradients_are_those_of_float32_rounded_once(dtype: torch.dtype, own_taps: bool) -> None:
    x, taps, bias = (t.to(dtype) for t in inputs(x=(2, 2, 6, 5), steps=5))
    parameters = [t if own_taps else t.float() for t in (taps, bias)]
    half = [t.requires_grad_() for t in (x, *parameters)]
    wide = [t.detach().float().requires_grad_() for t in half]
    results = []
    for a, b, c in (half, wide):
        y, states = residual_chain(a, b, bias=c, activation="silu", states_every=2)
        gradients = torch.autograd.grad(y.float().sum() + states.float().sum(), (a, b, c))
        assert [g.dtype for g in gradients] == [a.dtype, b.dtype, c.dtype]
        results.append((y, states, *gradients))
    for found, expected in zip(*results, strict=True):
        assert torch.equal(found, expected.to(found.dtype))


def test_half_forward_mode_and_second_derivatives_run_in_float32() -> None:
    x, taps, bias = (t.to(torch.bfloat16) for t in inputs())
    v = tuple(t.to(torch.bfloat16) for t in directions())

    def chain(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
        return residual_chain(x, taps, bias=bias, activation="tanh")

    _, tangent = torch.func.jvp(chain, (x, taps, bias), v)
    wide = (x.float(), taps.float(), bias.float())
    _, expected = torch.func.jvp(chain, wide, tuple(d.float() for d in v))
    assert tangent.dtype == torch.bfloat16
    torch.testing.assert_close(tangent, expected.bfloat16())

    seconds = []
    for leaf in (x.float().requires_grad_(), x.requires_grad_()):
        y = chain(leaf, taps.to(leaf.dtype), bias.to(leaf.dtype))
        (g,) = torch.autograd.grad(y.float().sum(), leaf, create_graph=True)
        seconds.append(torch.autograd.grad(g.float().pow(2).sum(), leaf)[0])
    # The first gradient is rounded to bfloat16 on its way into the second.
    torch.testing.assert_close(seconds[1].float(), seconds[0], rtol=2e-2, atol=2e-2)


# --- what is kept for the backward ---


@pytest.mark.parametrize(
    ("spatial", "kernel", "steps", "itemsize", "expected"),
    [
        ((28, 28), (3, 3), 27, 4, 0),  # 28 planes of 3 kB
        ((28, 28), (3, 3), 208, 4, 207),  # 209 planes are one too many for 640 KiB
        ((64, 64), (3, 3), 38, 4, 0),
        ((64, 64), (3, 3), 40, 4, 39),
        ((128, 128), (3, 3), 9, 4, 0),
        ((128, 128), (3, 3), 27, 4, 9),
        ((128, 128), (3, 3), 27, 8, 4),
        ((181, 181), (3, 3), 27, 4, 4),  # five planes and no byte more than fit
        ((192, 192), (3, 3), 27, 4, 8),  # fewer than 4 steps fit: a wavefront of 8 rows
        ((2048, 2048), (3, 3), 27, 4, 8),
        ((2048, 2048), (5, 3), 27, 4, 4),
        ((2048, 2048), (7, 7), 27, 4, 2),
        ((2048, 2048), (1, 1), 27, 4, 8),
        ((10**6,), (3,), 27, 4, 8),
        ((10**6,), (5,), 27, 16, 4),
        ((256, 256, 256), (3, 3, 3), 27, 4, 1),
        ((16, 16, 16), (3, 3, 3), 27, 4, 0),
        ((32, 32, 32), (3, 3, 3), 27, 4, 4),
        ((0, 5), (3, 3), 10**6, 4, 0),
        ((2048, 2048), (3, 3), 0, 4, 8),
    ],
)
def test_checkpoint_interval(
    spatial: tuple[int, ...], kernel: tuple[int, ...], steps: int, itemsize: int, expected: int
) -> None:
    assert ops.checkpoint_interval(spatial, kernel, steps, itemsize) == expected


# Budgets, in planes, that make the backward recompute from x, in segments of 5 and 4 steps, as a wavefront.
@pytest.mark.parametrize("planes", [1000, 6, 5, 1])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_gradients_do_not_depend_on_checkpoints(
    monkeypatch: pytest.MonkeyPatch, dims: int, dtype: torch.dtype, planes: int
) -> None:
    space = (7, 6, 5)[:dims]
    x, taps, bias = inputs(x=(2, 2, *space), steps=13)
    x, taps, bias = x.to(dtype), (taps * 0.5).to(dtype), bias.to(dtype)

    def run() -> list[Tensor]:
        leaves = [t.detach().clone().requires_grad_() for t in (x, taps, bias)]
        y, states = residual_chain(leaves[0], leaves[1], bias=leaves[2], activation="tanh", states_every=3)
        alone = residual_chain(leaves[0], leaves[1], bias=leaves[2], activation="tanh")
        loss = y.float().sum() + states.float().pow(2).sum() + alone.float().pow(2).sum()
        return [y, states, alone, *torch.autograd.grad(loss, leaves)]

    expected = run()
    itemsize = max(dtype.itemsize, 4)
    monkeypatch.setattr(ops, "ON_CHIP_BYTES", planes * itemsize * x[0, 0].numel())
    for a, b in zip(run(), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=8 * torch.finfo(dtype).eps, atol=8 * torch.finfo(dtype).eps)


def test_keeps_nothing_but_its_arguments_when_the_trajectory_fits() -> None:
    x, taps, _ = inputs(steps=50)
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        residual_chain(x.requires_grad_(), taps)
    assert {t.data_ptr() for t in saved} == {x.data_ptr(), taps.data_ptr()}


def test_frozen_parameters_get_no_gradient_tensor() -> None:
    x, taps, bias = inputs()
    y = residual_chain(x.requires_grad_(), taps, bias=bias)
    torch.autograd.backward(y, torch.ones_like(y))
    assert x.grad is not None
    assert taps.grad is bias.grad is None


@pytest.mark.parametrize("T", [0, 1])
@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (2, 2, 0), (1, 1, 1)])
def test_empty_and_single(shape: tuple[int, ...], T: int) -> None:
    x = torch.randn(shape, requires_grad=True)
    taps = torch.randn(T, shape[1], 3, requires_grad=True)
    y, states = residual_chain(x, taps, activation="none", states_every=1)
    assert y.shape == x.shape
    assert states.shape == (T, *shape)
    gradients = torch.autograd.grad(y.sum(), (x, taps))
    assert [g.shape for g in gradients] == [x.shape, taps.shape]
    if T == 0:
        assert torch.equal(y, x)
        assert torch.equal(gradients[0], torch.ones_like(x))


# --- the composite is the chain ---


@pytest.mark.parametrize("kernel", [(1,), (3,), (7,), (3, 5), (1, 3), (3, 1, 3)])
@pytest.mark.parametrize("boundary", PAD)
@pytest.mark.parametrize("activation", ["none", "leaky_relu"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_composite_agrees_with_the_kernel(
    dtype: torch.dtype, boundary: str, activation: str, kernel: tuple[int, ...]
) -> None:
    if dtype.is_complex and activation != "none":
        activation = "none"
    space = [4 if boundary == "reflect" else n for n in (2, 3, 4)[: len(kernel)]]
    x = torch.randn(2, 3, *space, dtype=dtype)
    taps, bias = torch.randn(4, 3, *kernel, dtype=dtype) / 3, torch.randn(4, 1, dtype=dtype)
    settings = (0.8, activation, 0.1, boundary)
    found = ops.composite.chain(x, taps, bias, *settings, 2)
    expected = ops.saved(x, taps, bias, *settings, 2, 0, "reference")[:2]
    torch.testing.assert_close(found, expected)
