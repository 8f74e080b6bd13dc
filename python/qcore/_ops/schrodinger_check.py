"""What the Schroedinger kernels compute: dtypes and shapes, checked alike for real and fake tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from ._check import one_of, require_choice, require_count, shape, wrong_type, wrong_value

# Codes as the kernels number them.
RULES = {"cayley": 0, "euler": 1}
BOUNDARIES = {"dirichlet": 0, "periodic": 1}
ARITHMETICS = {"float64": 0, "float32": 1}
BACKENDS = {"auto": 0, "reference": 1}
ORDERS = (2, 4, 6)
DTYPES = (torch.complex128, torch.complex64, torch.float64, torch.float32)


def check_evolve(
    psi: Tensor,
    potential: Tensor,
    kappa: Tensor,
    c: Tensor,
    steps: int,
    rule: str,
    order: int,
    boundary: str,
    arithmetic: str,
    backend: str,
    reversible: bool,
) -> None:
    """Refuse what the kernels do not compute."""
    if psi.dtype not in DTYPES:
        raise wrong_type("psi", one_of(DTYPES), psi.dtype)
    if psi.ndim != 2 or psi.shape[1] < 1:
        raise wrong_value("psi", "shape (B, n) with n >= 1", shape(psi))
    batch, n = psi.shape
    require_count("steps", steps)
    real = (torch.float64,) if not psi.dtype.is_complex else (torch.float64, torch.complex128)
    if potential.dtype not in real:
        raise wrong_type("potential", f"dtype {one_of(real)} for psi of {psi.dtype}", potential.dtype)
    if (
        potential.ndim != 3
        or potential.shape[0] not in (1, steps)
        or potential.shape[1] not in (1, batch)
        or potential.shape[2] != n
    ):
        raise wrong_value("potential", f"shape (1 or {steps}, 1 or {batch}, {n})", shape(potential))
    if kappa.dtype != torch.float64 or kappa.ndim != 0:
        raise wrong_value("kappa", "a 0-dim float64 tensor", f"{kappa.dtype} of {shape(kappa)}")
    if c.dtype != torch.complex128 or c.ndim != 1 or c.shape[0] < 1:
        raise wrong_value("c", "a complex128 tensor of shape (M,), M >= 1", f"{c.dtype} of {shape(c)}")
    require_choice("boundary", boundary, BOUNDARIES)
    check_settings(psi, rule, order, arithmetic, backend, reversible)
    check_devices(psi, potential=potential)
    check_on_host(kappa=kappa, c=c)


def check_settings(
    psi: Tensor, rule: str, order: int, arithmetic: str, backend: str, reversible: bool
) -> None:
    """Refuse settings that no kernel of the family has, or not for psi."""
    require_choice("rule", rule, RULES)
    require_choice("arithmetic", arithmetic, ARITHMETICS)
    require_choice("backend", backend, BACKENDS)
    if order not in ORDERS:
        raise wrong_value("order", one_of(ORDERS), order)
    if arithmetic == "float32" and psi.dtype in (torch.float64, torch.complex128):
        raise wrong_value("arithmetic", f"'float64' for psi of {psi.dtype}", repr(arithmetic))
    if reversible:
        check_reversible(rule)


def check_reversible(rule: str) -> None:
    """Refuse to trace back what has lost its past."""
    if rule != "cayley":
        raise wrong_value("reversible", f"False for the rule {rule!r}, which cannot be traced back", True)


def check_devices(psi: Tensor, **others: Tensor) -> None:
    """Refuse tensors that aren't where psi is."""
    for name, tensor in others.items():
        if tensor.device != psi.device:
            raise wrong_value(name, f"the device of psi, {psi.device}", tensor.device)


def check_on_host(**settings: Tensor) -> None:
    """Refuse settings that a kernel could not read before its launch."""
    for name, tensor in settings.items():
        if tensor.device.type not in ("cpu", "meta"):
            raise wrong_value(name, "a CPU tensor", tensor.device)


def check_every(save_every: int) -> None:
    """Refuse what is not a number of steps between frames."""
    require_count("save_every", save_every)
    if save_every < 1:
        raise wrong_value("save_every", "an int >= 1", save_every)


def check_frames(
    psi: Tensor, potential: Tensor, kappa: Tensor, c: Tensor, steps: int, save_every: int, *settings: object
) -> None:
    """As `check_evolve`, with save_every, in stages, after steps."""
    check_evolve(psi, potential, kappa, c, steps, *settings)  # type: ignore[arg-type]
    check_every(save_every)


def check_adjoint(
    states: Tensor,
    grad_out: Tensor,
    grad_frames: Tensor | None,
    potential: Tensor,
    kappa: Tensor,
    c: Tensor,
    steps: int,
    save_every: int,
    *settings: object,
) -> None:
    """As `check_frames`; states are the last one, or all of them where the run cannot be traced back."""
    check_frames(grad_out, potential, kappa, c, steps, save_every, *settings)
    reversible = settings[-1]
    stages = steps * c.shape[0]
    expected = tuple(grad_out.shape) if reversible else (stages + 1, *grad_out.shape)
    _check_like("states", states, grad_out, expected)
    if grad_frames is not None:
        _check_like("grad_frames", grad_frames, grad_out, (stages // save_every, *grad_out.shape))


def _check_like(name: str, tensor: Tensor, like: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise wrong_value(name, f"shape {expected}", shape(tensor))
    if tensor.dtype != like.dtype:
        raise wrong_type(name, f"dtype {like.dtype}", tensor.dtype)
