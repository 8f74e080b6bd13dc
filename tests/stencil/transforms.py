"""The ways torch has of asking for a derivative, as functions of the function to derive; a chain to compare.

A function here takes (x, taps, bias) and returns one tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.utils import _pytree as pytree

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
PAD = {"zero": "constant", "periodic": "circular", "reflect": "reflect", "replicate": "replicate"}
ACTIVATE: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda z: z,
    "relu": F.relu,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.01),
    "tanh": torch.tanh,
    "silu": lambda z: z * torch.sigmoid(z),  # F.silu's backward has no forward mode
}


def conv_chain(
    x: Tensor,
    taps: Tensor,
    bias: Tensor | None = None,
    *,
    skip: float | Tensor = 1.0,
    activation: str = "relu",
    boundary: str = "zero",
    states_every: int = 0,
) -> Any:
    """The chain as a loop over torch's convolutions."""
    channels, ones = x.shape[1], (1,) * (x.ndim - 2)
    states, u = [], x
    for t in range(taps.shape[0]):
        weight = taps[t].expand(channels, *taps.shape[2:]).unsqueeze(1)
        padded = F.pad(u, [k // 2 for k in reversed(taps.shape[2:]) for _ in range(2)], mode=PAD[boundary])
        z = CONV[x.ndim - 2](padded, weight, groups=channels)
        z = z + (skip if isinstance(skip, float) else skip[t].reshape(-1, *ones)) * u
        if bias is not None:
            z = z + bias[t].reshape(-1, *ones)
        u = ACTIVATE[activation](z)
        if states_every and (t + 1) % states_every == 0:
            states.append(u)
    return (u, torch.stack(states)) if states_every else u


def inputs(
    seed: int = 0, *, x: tuple[int, ...] = (2, 2, 4, 3), steps: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    """x, taps, bias in float64; the same for the same arguments."""
    g = torch.Generator().manual_seed(seed)
    kernel = (3,) * (len(x) - 2)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    return draw(*x), 0.4 * draw(steps, x[1], *kernel), 0.4 * draw(steps, x[1])


Function3 = Callable[[Tensor, Tensor, Tensor], Tensor]
Transform = Callable[[Function3], Any]


def weighted(result: Any) -> Tensor:
    """All of a result in one vector, with weights that tell its entries apart."""
    flat = torch.cat([r.reshape(-1) for r in pytree.tree_leaves(result)])
    return flat * torch.linspace(0.5, 1.5, flat.numel(), dtype=flat.dtype)


# --- the transforms ---


def total(f: Function3) -> Function3:
    return lambda *a: f(*a).pow(2).sum()


def directions() -> tuple[Tensor, ...]:
    return inputs(1)


def _stacked(n: int = 3) -> tuple[Tensor, ...]:
    return tuple(torch.stack(t) for t in zip(*(inputs(seed) for seed in range(n)), strict=True))


def vjp(f: Function3) -> Any:
    leaves = tuple(t.requires_grad_() for t in inputs())
    return torch.autograd.grad(total(f)(*leaves), leaves)


def vjp_of_x_alone(f: Function3) -> Any:
    x, taps, bias = inputs()
    return torch.autograd.grad(total(f)(x.requires_grad_(), taps, bias), x)


def vjp_of_parameters_alone(f: Function3) -> Any:
    x, taps, bias = inputs()
    return torch.autograd.grad(total(f)(x, taps.requires_grad_(), bias.requires_grad_()), (taps, bias))


def func_vjp(f: Function3) -> Any:
    return torch.func.grad(total(f), (0, 1, 2))(*inputs())


def jvp(f: Function3) -> Any:
    return torch.func.jvp(f, inputs(), directions())


def jvp_of_x_alone(f: Function3) -> Any:
    x, taps, bias = inputs()
    return torch.func.jvp(lambda x: f(x, taps, bias), (x,), (directions()[0],))


def jvp_of_taps_alone(f: Function3) -> Any:
    x, taps, bias = inputs()
    return torch.func.jvp(lambda taps: f(x, taps, bias), (taps,), (directions()[1],))


def dual_numbers(f: Function3) -> Any:
    with forward_ad.dual_level():
        duals = map(forward_ad.make_dual, inputs(), directions())
        return forward_ad.unpack_dual(f(*duals)).tangent


def dual_numbers_of_gradient(f: Function3) -> Any:
    with forward_ad.dual_level():
        duals = tuple(map(forward_ad.make_dual, (t.requires_grad_() for t in inputs()), directions()))
        return [forward_ad.unpack_dual(g).tangent for g in torch.autograd.grad(total(f)(*duals), duals)]


def vmap_of_x(f: Function3) -> Any:
    x, taps, bias = inputs()
    return torch.vmap(f, (2, None, None))(torch.stack([x, 2 * x, -x], 2), taps, bias)


def vmap_of_taps(f: Function3) -> Any:
    x, taps, bias = inputs()
    return torch.vmap(f, (None, 1, None))(x, torch.stack([taps, 2 * taps], 1), bias)


def vmap_of_bias(f: Function3) -> Any:
    x, taps, bias = inputs()
    return torch.vmap(f, (None, None, -1))(x, taps, torch.stack([bias, 2 * bias], -1))


def vmap_of_all(f: Function3) -> Any:
    return torch.vmap(f)(*_stacked())


def vmap_of_vmap(f: Function3) -> Any:
    x, taps, bias = _stacked()
    return torch.vmap(torch.vmap(f, (None, 0, None)), (0, None, 0))(x, taps, bias)


def vmap_of_grad(f: Function3) -> Any:
    x, taps, bias = inputs()
    return torch.vmap(torch.func.grad(total(f), (0, 1, 2)), (0, None, None))(x.unsqueeze(1), taps, bias)


def vmap_of_grad_of_x_alone(f: Function3) -> Any:
    x, taps, bias = inputs()
    return torch.vmap(torch.func.grad(total(f)), (0, None, None))(x.unsqueeze(1), taps, bias)


def vmap_of_grad_of_all(f: Function3) -> Any:
    return torch.vmap(torch.func.grad(total(f), (0, 1, 2)))(*_stacked())


def grad_of_vmap(f: Function3) -> Any:
    return torch.func.grad(lambda *a: torch.vmap(total(f), (0, None, 0))(*a).sum(), (0, 1, 2))(
        _stacked()[0], inputs()[1], _stacked()[2]
    )


def vmap_of_jvp(f: Function3) -> Any:
    primals = inputs()
    return torch.vmap(lambda *v: torch.func.jvp(f, primals, v)[1])(*_stacked())


def batched_gradients(f: Function3) -> Any:
    leaves = tuple(t.requires_grad_() for t in inputs())
    y = f(*leaves)
    return torch.autograd.grad(y, leaves, torch.eye(y.numel(), dtype=y.dtype)[:4], is_grads_batched=True)


def jacrev(f: Function3) -> Any:
    return torch.func.jacrev(f, (0, 1, 2))(*inputs())


def jacfwd(f: Function3) -> Any:
    return torch.func.jacfwd(f, (0, 1, 2))(*inputs())


SMALL = {"x": (1, 2, 3, 2), "steps": 2}


def hessian(f: Function3) -> Any:
    return torch.func.hessian(total(f), (0, 1, 2))(*inputs(**SMALL))


def reverse_over_reverse(f: Function3) -> Any:
    return torch.func.jacrev(torch.func.jacrev(total(f), (0, 1, 2)), (0, 1, 2))(*inputs(**SMALL))


def forward_over_forward(f: Function3) -> Any:
    return torch.func.jacfwd(torch.func.jacfwd(total(f), (0, 1, 2)), (0, 1, 2))(*inputs(**SMALL))


def reverse_over_forward(f: Function3) -> Any:
    return torch.func.jacrev(torch.func.jacfwd(total(f), (0, 1, 2)), (0, 1, 2))(*inputs(**SMALL))


def double_backward(f: Function3) -> Any:
    leaves = tuple(t.requires_grad_() for t in inputs())
    gradients = torch.autograd.grad(total(f)(*leaves), leaves, create_graph=True)
    return torch.autograd.grad(sum(g.pow(3).sum() for g in gradients), leaves)


def third_order(f: Function3) -> Any:
    leaves = tuple(t.requires_grad_() for t in inputs(**SMALL))
    gradients = torch.autograd.grad(total(f)(*leaves), leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.pow(2).sum() for g in gradients), leaves, create_graph=True)
    return torch.autograd.grad(sum(g.pow(2).sum() for g in second), leaves)


def compiled(f: Function3) -> Any:
    return torch.compile(f, fullgraph=True, backend="aot_eager")(*inputs())


def compiled_vjp(f: Function3, backend: str = "aot_eager") -> Any:
    leaves = tuple(t.requires_grad_() for t in inputs())
    return torch.autograd.grad(torch.compile(total(f), fullgraph=True, backend=backend)(*leaves), leaves)


def vjp_of_two_shapes(f: Function3) -> Any:
    results = []
    for shape in ((2, 2, 4, 3), (3, 2, 6, 5)):
        leaves = tuple(t.requires_grad_() for t in inputs(x=shape))
        results.append(torch.autograd.grad(total(f)(*leaves), leaves))
    return results


def compiled_vjp_of_dynamic_shapes(f: Function3) -> Any:
    return vjp_of_two_shapes(torch.compile(f, fullgraph=True, backend="aot_eager", dynamic=True))


def compiled_transform(f: Function3) -> Any:
    """Breaks the graph and runs outside; inside it Dynamo would give zeros."""
    return torch.compile(torch.func.grad(total(f), (0, 1, 2)), backend="aot_eager")(*inputs())


def compiled_jvp(f: Function3) -> Any:
    v = directions()
    return torch.compile(lambda *a: torch.func.jvp(f, a, v), backend="aot_eager")(*inputs())


def exported(f: Function3) -> Any:
    return _exported(f, strict=False)


def exported_strictly(f: Function3) -> Any:
    return _exported(f, strict=True)


def _exported(f: Function3, strict: bool) -> Any:
    """An exported program runs, and trains."""

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            _, taps, bias = inputs()
            self.taps, self.bias = torch.nn.Parameter(taps), torch.nn.Parameter(bias)

        def forward(self, x: Tensor) -> Tensor:
            return f(x, self.taps, self.bias)

    x = inputs()[0]
    module = torch.export.export(Model(), (x,), strict=strict).module()
    y = module(x)
    return y, *torch.autograd.grad(y.pow(2).sum(), dict(module.named_parameters()).values())


def double_backward_through_a_compiled_region(f: Function3) -> Any:
    return double_backward(torch.compile(f, fullgraph=True, backend="aot_eager"))


def compiled_transform_fullgraph(f: Function3) -> Any:
    return torch.compile(torch.func.grad(total(f)), fullgraph=True, backend="aot_eager")(*inputs())


def compiled_jvp_fullgraph(f: Function3) -> Any:
    v = directions()
    g = torch.compile(lambda *a: torch.func.jvp(f, a, v), fullgraph=True, backend="aot_eager")
    return g(*inputs())


def compiled_dual_numbers_fullgraph(f: Function3) -> Any:
    return dual_numbers(torch.compile(f, fullgraph=True, backend="aot_eager"))


def transform_of_compiled(f: Function3) -> Any:
    return torch.func.grad(torch.compile(total(f), fullgraph=True, backend="aot_eager"))(*inputs())


def nested_dual_levels(f: Function3) -> Any:
    with forward_ad.dual_level():
        return torch.func.jvp(f, tuple(map(forward_ad.make_dual, inputs(), directions())), directions())
