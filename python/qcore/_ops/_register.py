"""The one place where operators get their dispatch, fake, vmap and derivative rules.

A kernel family declares three things here:

* `define` an operator: schema, argument check, outputs, kernel, vmap rule;
* `differentiable` turns a `Rule` (how to run with and without a gradient to come, how to pull gradients back,
  how to push tangents forward) into the function that the public API calls;
* `derivative` gives that rule to the bare operator, which is what compiled and exported graphs hold.

Together they take everything torch asks for: reverse and forward mode, torch.func transforms in any nesting,
compile, export, and derivatives of a backward that is itself such a function.

Why not `torch.library.custom_op` and `register_autograd`: they cost 4 to 7 us per call, cannot be used under
torch.func, and drop forward-mode tangents without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

LIBRARY: Any = torch.library.Library("qcore", "FRAGMENT")  # type: ignore[no-untyped-call]

# The kernels take any strides and return contiguous outputs, so a compiler may choose the layout of the
# inputs.
_TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout)

_BACKENDS = ("CPU", "CUDA")

_below_autograd = torch._C._AutoDispatchBelowAutograd

# By operator and the dispatch keys of a call on dense tensors with nothing but autograd above the kernel.
_kernels: dict[tuple[str, int], Callable[..., Any]] = {}

Tensors = tuple[Tensor, ...]
OptionalTensors = tuple["Tensor | None", ...]


def define(
    schema: str,
    *,
    check: Callable[..., None],
    outputs: Callable[..., Any],
    kernel: Callable[..., Any],
    vmap: Callable[..., Any],
) -> Any:
    """Define ``qcore::<schema>`` and return its overload.

    Args:
        schema: ``name(Tensor a, Tensor? b, float c) -> Tensor``: tensors first, no defaults.
        check: ``(*args)``: refuse arguments that the kernels do not compute, naming argument, expected, got.
        outputs: ``(*args) -> tensors``: the outputs, unfilled; contiguous, none sharing memory with an input.
        kernel: ``(*args) -> tensors``: the outputs, filled, on the CPU and on CUDA devices (see `_device`);
            refuses what `check` refuses.
        vmap: ``(info, in_dims, *args) -> (outputs, out_dims)``, see torch.library.register_vmap.
    """
    name = schema[: schema.index("(")]

    def fake(*args: Any) -> Any:
        check(*args)
        return outputs(*args)

    def elsewhere(*args: Any) -> Any:
        check(*args)
        got = ", ".join(f"{a.layout} on {a.device}" for a in args if isinstance(a, Tensor))
        devices = " or ".join(_BACKENDS)
        raise NotImplementedError(f"qcore::{name}: expected dense tensors on {devices}, got {got}")

    LIBRARY.define(schema, tags=_TAGS)
    LIBRARY.impl(name, elsewhere, "CompositeExplicitAutograd")
    real = _real(check, kernel)
    for key in _BACKENDS:
        LIBRARY.impl(name, real, key)
        _kernels[f"qcore::{name}", _dense_keys(key)] = real
    torch.library.register_fake(f"qcore::{name}", fake, lib=LIBRARY)
    torch.library.register_vmap(f"qcore::{name}", vmap, lib=LIBRARY)
    return getattr(torch.ops.qcore, name).default


def _real(check: Callable[..., None], kernel: Callable[..., Any]) -> Callable[..., Any]:
    def real(*args: Any) -> Any:
        # A kernel checks its arguments itself. Only where it refuses them they are checked here, for the
        # words that the fake call uses: a check before every call would double what a small call costs.
        try:
            return kernel(*args)
        except Exception:
            check(*args)
            raise

    return real


@dataclass(frozen=True)
class Rule:
    """What a family declares to make a function of tensors differentiable.

    The arguments of the function are `tensors` tensors or Nones, then plain Python settings.

    Attributes:
        name: of the autograd node.
        tensors: number of leading tensor arguments.
        outputs: number of differentiable outputs.
        plain: ``(*args) -> outputs``, when no derivative will be asked for: a tensor, or a tuple if several.
        recorded: ``(*args) -> (outputs, kept)``, two tuples; `kept` are tensors the backward needs beyond the
            arguments.
        backward: ``(needed, grads, tensors, kept, settings) -> one gradient or None per tensor argument``;
            `needed` says which are wanted, an entry of `grads` is None where an output was not used. To be
            differentiable again it calls a function made by `differentiable`, or differentiable torch.
        jvp: ``(tangents, tensors, settings) -> one tangent per output``; `tangents` has None where an
            argument has none. In differentiable torch, so that forward mode nests with everything else.
    """

    name: str
    tensors: int
    outputs: int
    plain: Callable[..., Any]
    recorded: Callable[..., tuple[Tensors, Tensors]]
    backward: Callable[..., OptionalTensors]
    jvp: Callable[..., Tensors]


class Differentiable(NamedTuple):
    """A function with derivatives; both members take the rule's arguments and return what its plain does."""

    call: Callable[..., Any]
    """For the public API: the cheapest way to run that keeps the derivatives that may be asked for."""
    derive: Callable[..., Any]
    """For `derivative`: run recording a derivative, come what may."""


def differentiable(rule: Rule) -> Differentiable:
    """The function with the derivatives of `rule`."""
    n, plain, single = rule.tensors, rule.plain, rule.outputs == 1

    class Recorded(Function):
        """Reverse mode alone: this style costs a third of the other."""

        @staticmethod
        def forward(ctx: Any, settings: tuple[Any, ...], *tensors: Any) -> Any:
            with _below_autograd():
                outputs, kept = rule.recorded(*tensors, *settings)
            ctx.save_for_backward(*tensors, *kept)
            ctx.settings = settings
            ctx.set_materialize_grads(False)
            return outputs[0] if single else outputs

        @staticmethod
        def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
            saved, needed = ctx.saved_tensors, ctx.needs_input_grad[1:]
            return (None, *rule.backward(needed, grads, saved[:n], saved[n:], ctx.settings))

    class Transformed(Function):
        """For functorch transforms and dual numbers. What the backward keeps must here be an output."""

        generate_vmap_rule = True

        @staticmethod
        def forward(*args: Any) -> Tensors:
            outputs, kept = rule.recorded(*args)
            return (*outputs, *kept)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
            kept = output[rule.outputs :]
            ctx.mark_non_differentiable(*kept)
            ctx.save_for_backward(*inputs[:n], *kept)
            ctx.save_for_forward(*inputs[:n], *kept)  # under vmap torch takes both lists for one
            ctx.settings = inputs[n:]
            ctx.kept = len(kept)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
            saved, needed = ctx.saved_tensors, ctx.needs_input_grad[:n]
            gradients = rule.backward(needed, grads[: rule.outputs], saved[:n], saved[n:], ctx.settings)
            return (*gradients, *(None for _ in ctx.settings))

        @staticmethod
        def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Any, ...]:
            # torch switches forward mode off in here, which would drop the tangents of an outer level without
            # a word. On again, the saved tensors must not carry the tangents of this level.
            with forward_ad._set_fwd_grad_enabled(True):
                primals = tuple(None if t is None else _primal(t) for t in ctx.saved_tensors[:n])
                pushed = rule.jvp(tangents[:n], primals, ctx.settings)
            return (*pushed, *(None for _ in range(ctx.kept)))

    # The class name is what users see as grad_fn.
    recorded: Any = type(rule.name, (Recorded,), {})
    transformed: Any = type(rule.name, (Transformed,), {})

    def derive(*args: Any) -> Any:
        if transforming():
            outputs = transformed.apply(*args)
            return outputs[0] if single else outputs[: rule.outputs]
        return recorded.apply(args[n:], *args[:n])

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling():
            # Dynamo would lose the derivative of a transform inside the graph: zeros instead of gradients.
            if transforming():
                raise NotImplementedError(
                    f"{rule.name}: torch.compile cannot trace its torch.func transforms and forward mode; "
                    "compile without fullgraph=True, or transform outside the compiled function"
                )
            return plain(*args)  # the graph holds bare operators, derived when it is lowered
        if transforming() or (torch.is_grad_enabled() and torch._C._any_requires_grad(*args)):
            return derive(*args)
        with _below_autograd():
            return plain(*args)

    return Differentiable(call, derive)


def derivative(operator: Any, derived: Callable[..., Any]) -> None:
    """Make a bare operator differentiable in reverse and forward mode.

    Args:
        operator: what `define` returned.
        derived: the same function of the same arguments by way of `Differentiable.derive`.
    """
    name = operator.name()

    def autograd(keys: Any, *args: Any) -> Any:
        if torch._C._are_functorch_transforms_active():
            raise NotImplementedError(f"torch.ops.{name}: not for torch.func, call the public function")
        if torch.is_grad_enabled() and torch._C._any_requires_grad(*args):
            return derived(*args)
        if forward_ad._current_level >= 0 and torch._C._is_fwd_grad_enabled():
            return derived(*args)
        kernel = _kernels.get((name, keys.raw_repr()))
        if kernel is not None:  # a second dispatch would cost more than this one
            return kernel(*args)
        with _below_autograd():
            return operator.redispatch(keys & torch._C._after_autograd_keyset, *args)

    LIBRARY.impl(name.split("::")[1], autograd, "Autograd", with_keyset=True)


def _dense_keys(backend: str) -> int:
    key, autograd = (getattr(torch._C.DispatchKey, name) for name in (backend, f"Autograd{backend}"))
    keys: int = (torch._C.DispatchKeySet(key) | torch._C.DispatchKeySet(autograd)).raw_repr()
    return keys


def transforming() -> bool:
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _primal(tensor: Tensor) -> Tensor:
    """`tensor` without its tangent of the current forward-mode level, which a vmap may have wrapped."""
    functorch = torch._C._functorch
    if functorch.is_batchedtensor(tensor):
        inner = _primal(functorch.get_unwrapped(tensor))
        level = functorch.maybe_get_level(tensor)
        return functorch._add_batch_dim(inner, functorch.maybe_get_bdim(tensor), level)
    primal: Tensor = forward_ad.unpack_dual(tensor).primal  # type: ignore[no-untyped-call]
    return primal
