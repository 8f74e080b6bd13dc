"""Every argument of propagate broken once, and the unusual ones that work: empty, strided, no steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qcore.schrodinger import propagate

from .support import C64, C128, F32, F64, bits, random_field, tensor

PSI = tensor(random_field((2, 6)))
V = torch.linspace(-1, 1, 6, dtype=F64)
PLANE, PLANE_V = tensor(random_field((2, 3, 4))), torch.zeros(3, 4, dtype=F64)
GOOD: dict[str, Any] = {"psi": PSI, "potential": V, "dt": 0.1, "steps": 4, "spacing": 0.5}
NAN, INF = math.nan, math.inf


def gain(value: complex) -> Tensor:
    v = torch.zeros(6, dtype=C128)
    v[2] = value
    return v


def spoilt(value: float) -> Tensor:
    v = V.clone()
    v[3] = value
    return v


# what is changed, the error, the argument that the message has to start with
BROKEN: list[tuple[dict[str, Any], type[Exception] | tuple[type[Exception], ...], str]] = [
    ({"psi": PSI.numpy()}, TypeError, "psi"),
    ({"psi": None}, TypeError, "psi"),
    ({"psi": PSI.real}, TypeError, "psi"),
    ({"psi": PSI.real.long()}, TypeError, "psi"),
    ({"psi": torch.tensor(1j, dtype=C128)}, ValueError, "psi"),
    ({"psi": PSI[:, :0]}, ValueError, "psi"),
    ({"psi": PSI[0], "spacing": (0.5, 0.5)}, ValueError, "psi"),
    ({"psi": PSI.real.half(), "imaginary": True}, TypeError, "psi"),
    ({"psi": 0 * PSI, "imaginary": True}, ValueError, "psi"),
    ({"psi": PSI * torch.tensor([[1.0], [0.0]]), "imaginary": True}, ValueError, "psi"),
    ({"psi": PSI * INF, "imaginary": True}, ValueError, "psi"),
    ({"potential": None}, TypeError, "potential"),
    ({"potential": 0.0}, TypeError, "potential"),
    ({"potential": V.numpy()}, TypeError, "potential"),
    ({"potential": V[:5]}, ValueError, "potential"),
    ({"potential": torch.zeros(3, 6, dtype=F64)}, ValueError, "potential"),
    ({"potential": torch.zeros(3, 1, 6, dtype=F64)}, ValueError, "potential"),
    ({"potential": torch.zeros(4, 3, 6, dtype=F64)}, ValueError, "potential"),
    ({"potential": torch.zeros(1, 4, 2, 6, dtype=F64)}, ValueError, "potential"),
    ({"potential": spoilt(NAN)}, ValueError, "potential"),
    ({"potential": spoilt(INF)}, ValueError, "potential"),
    ({"potential": spoilt(-INF)}, ValueError, "potential"),
    ({"potential": gain(1e-9j)}, ValueError, "potential"),
    ({"potential": gain(complex(0, -INF))}, ValueError, "potential"),
    ({"potential": gain(complex(NAN, 0))}, ValueError, "potential"),
    ({"potential": torch.stack([V, V, V, spoilt(NAN)])[:, None]}, ValueError, "potential"),
    ({"potential": torch.stack([V, V, V, gain(2j)])[:, None]}, ValueError, "potential"),
    ({"potential": lambda t: 3.0}, TypeError, "potential"),
    ({"potential": lambda t: V[:5]}, ValueError, "potential"),
    ({"potential": lambda t: spoilt(NAN if t > 0.3 else 0.0)}, ValueError, "potential"),
    ({"potential": lambda t: gain(1j if t > 0.3 else 0.0)}, ValueError, "potential"),
    ({"potential": lambda t: V, "imaginary": True}, ValueError, "potential"),
    ({"potential": gain(-1j), "imaginary": True}, ValueError, "potential"),
    ({"potential": torch.zeros(4, 1, 6, dtype=F64), "imaginary": True}, ValueError, "potential"),
    ({"potential": torch.zeros(4, 1, 6, dtype=F64), "time_order": 4}, ValueError, "potential"),
    ({"dt": 0.0}, ValueError, "dt"),
    ({"dt": NAN}, ValueError, "dt"),
    ({"dt": INF}, ValueError, "dt"),
    ({"dt": "0.1"}, TypeError, "dt"),
    ({"dt": True}, TypeError, "dt"),
    ({"dt": 0.1j}, TypeError, "dt"),
    ({"dt": torch.tensor([0.1])}, ValueError, "dt"),
    ({"dt": torch.tensor(0.1j)}, ValueError, "dt"),
    ({"dt": torch.tensor(0.0)}, ValueError, "dt"),
    ({"dt": -0.1, "imaginary": True}, ValueError, "dt"),
    ({"steps": -1}, ValueError, "steps"),
    ({"steps": 2.0}, TypeError, "steps"),
    ({"steps": True}, TypeError, "steps"),
    ({"spacing": 0.0}, ValueError, "spacing"),
    ({"spacing": -0.5}, ValueError, "spacing"),
    ({"spacing": NAN}, ValueError, "spacing"),
    ({"spacing": INF}, ValueError, "spacing"),
    ({"spacing": "0.5"}, TypeError, "spacing"),
    ({"spacing": ()}, ValueError, "spacing"),
    ({"spacing": (0.5,) * 4}, ValueError, "spacing"),
    ({"spacing": (0.5, 0.0)}, ValueError, "spacing"),
    ({"mass": 0.0}, ValueError, "mass"),
    ({"mass": NAN}, ValueError, "mass"),
    ({"mass": "1"}, TypeError, "mass"),
    ({"mass": (1.0, 1.0)}, ValueError, "mass"),
    ({"mass": torch.ones(2)}, ValueError, "mass"),
    ({"mass": torch.tensor(1j)}, ValueError, "mass"),
    ({"mass": -1.0, "imaginary": True}, ValueError, "mass"),
    ({"hbar": 0.0}, ValueError, "hbar"),
    ({"hbar": -1.0}, ValueError, "hbar"),
    ({"hbar": INF}, ValueError, "hbar"),
    ({"hbar": None}, TypeError, "hbar"),
    ({"boundary": "open"}, ValueError, "boundary"),
    ({"boundary": 0}, TypeError, "boundary"),
    ({"boundary": ("dirichlet", "periodic")}, ValueError, "boundary"),
    ({"boundary": "transparent", "time_order": 4}, ValueError, "boundary"),
    ({"boundary": "transparent", "space_order": 4}, ValueError, "boundary"),
    ({"boundary": "transparent", "imaginary": True}, ValueError, "boundary"),
    ({"imaginary": 1}, TypeError, "imaginary"),
    ({"imaginary": "yes"}, TypeError, "imaginary"),
    ({"time_order": 3}, ValueError, "time_order"),
    ({"time_order": 10}, ValueError, "time_order"),
    ({"time_order": 2.0}, (TypeError, ValueError), "time_order"),
    ({"time_order": "4"}, (TypeError, ValueError), "time_order"),
    ({"time_order": 6, "potential": lambda t: V}, ValueError, "time_order"),
    ({"space_order": 8}, ValueError, "space_order"),
    ({"space_order": True}, (TypeError, ValueError), "space_order"),
    ({"absorber": 1.0}, TypeError, "absorber"),
    ({"absorber": (1.0, 1.0)}, (TypeError, ValueError), "absorber"),
    ({"absorber": (-1.0, 1.0, 2.0)}, ValueError, "absorber"),
    ({"absorber": (1.0, 0.0, 2.0)}, ValueError, "absorber"),
    ({"absorber": (1.0, 5.0, 2.0)}, ValueError, "absorber"),
    ({"absorber": (1.0, 1.0, -1.0)}, ValueError, "absorber"),
    ({"absorber": (NAN, 1.0, 2.0)}, ValueError, "absorber"),
    ({"absorber": ("1", 1.0, 2.0)}, TypeError, "absorber"),
    ({"absorber": (100.0, 1.0, 2.0)}, ValueError, "absorber"),
    ({"absorber": (1.0, 1.0, 2.0), "imaginary": True}, ValueError, "absorber|potential"),
    ({"absorber": (1.0, 1.0, 2.0), "boundary": "periodic"}, ValueError, "absorber"),
    ({"save_every": -1}, ValueError, "save_every"),
    ({"save_every": 1.0}, TypeError, "save_every"),
    ({"arithmetic": "exact"}, ValueError, "arithmetic"),
    ({"arithmetic": 32}, TypeError, "arithmetic"),
]


@pytest.mark.parametrize(
    ("change", "error", "name"), BROKEN, ids=lambda x: str(x)[:40] if isinstance(x, dict) else ""
)
def test_broken_arguments_are_named(
    change: dict[str, Any], error: type[Exception] | tuple[type[Exception], ...], name: str
) -> None:
    """The message names the argument, what was expected and what came."""
    arguments = {**GOOD, **change}
    with pytest.raises(error, match=rf"^({name})\b.*expected .+ got "):
        propagate(arguments.pop("psi"), arguments.pop("potential"), **arguments)


PLANES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"time_order": 6}, ValueError, "time_order"),
    ({"time_order": 4, "imaginary": True}, ValueError, "time_order"),
    ({"boundary": ("dirichlet", "transparent")}, ValueError, "boundary"),
    ({"boundary": ("dirichlet",) * 3}, ValueError, "boundary"),
    ({"mass": (1.0, 1.0, 1.0)}, ValueError, "mass"),
    ({"mass": (1.0, 0.0)}, ValueError, "mass"),
    ({"potential": torch.zeros(4, 3, dtype=F64)}, ValueError, "potential"),
    ({"potential": torch.zeros(4, 1, 3, 4, dtype=F64), "time_order": 4}, ValueError, "potential"),
    ({"psi": PLANE[:, :, :0]}, ValueError, "psi"),
    ({"absorber": (1.0, 1.2, 2.0)}, ValueError, "absorber"),
]


@pytest.mark.parametrize(
    ("change", "error", "name"), PLANES, ids=lambda x: str(x)[:40] if isinstance(x, dict) else ""
)
def test_broken_arguments_of_planes(change: dict[str, Any], error: type[Exception], name: str) -> None:
    arguments = {"psi": PLANE, "potential": PLANE_V, "dt": 0.1, "steps": 4, "spacing": (0.5, 0.5), **change}
    with pytest.raises(error, match=rf"^({name})\b.*expected .+ got "):
        propagate(arguments.pop("psi"), arguments.pop("potential"), **arguments)


def test_mixed_devices_are_refused() -> None:
    with pytest.raises(
        (ValueError, TypeError), match=r"^potential: expected the device of psi, cpu, got meta"
    ):
        propagate(PSI, V.to("meta"), dt=0.1, steps=4, spacing=0.5)


# --- what works, if unusual -----------------------------------------------------------------------


@pytest.mark.parametrize("imaginary", [False, True])
@pytest.mark.parametrize("shape", [(0, 6), (3, 0, 6), (0, 3, 4), (2, 0, 3, 4)])
def test_empty_batches(shape: tuple[int, ...], imaginary: bool) -> None:
    spacing = 0.5 if shape[-1] == 6 else (0.5, 0.4)
    psi = torch.empty(shape, dtype=C128, requires_grad=True)
    v = torch.zeros(shape[-1:] if spacing == 0.5 else shape[-2:], dtype=F64, requires_grad=True)
    after, frames = propagate(psi, v, dt=0.1, steps=5, spacing=spacing, save_every=2, imaginary=imaginary)
    assert after.shape == shape
    assert frames.shape == (2, *shape)
    grad_psi, grad_v = torch.autograd.grad(
        after.abs().sum() + frames.abs().sum(), [psi, v], materialize_grads=True
    )
    assert grad_psi.shape == shape
    assert (grad_v == 0).all()


@pytest.mark.parametrize(("psi", "spacing"), [(PSI, 0.5), (PLANE, (0.5, 0.4))])
def test_no_steps(psi: Tensor, spacing: Any) -> None:
    """psi itself in value, not in memory; no frames."""
    v = torch.zeros(psi.shape[-1:] if spacing == 0.5 else psi.shape[-2:], dtype=F64)
    for potential in (v, v.new_zeros(0, 1, *v.shape), lambda t: v):
        after, frames = propagate(psi, potential, dt=0.1, steps=0, spacing=spacing, save_every=3)
        assert bits(after, psi)
        assert after.data_ptr() != psi.data_ptr()
        assert frames.shape == (0, *psi.shape)


def layouts(field: Tensor) -> dict[str, Tensor]:
    """The same values in other memory; around them stands NaN, which nothing may read."""
    wide = torch.full((*field.shape[:-1], 2 * field.shape[-1] + 3), NAN, dtype=field.dtype)
    every_other = wide[..., 1 : 1 + 2 * field.shape[-1] : 2]
    every_other.copy_(field)
    inner = torch.full((*field.shape[:-1], field.shape[-1] + 2), NAN, dtype=field.dtype)[..., 1:-1]
    inner.copy_(field)
    turned = field.movedim(-1, 0).contiguous().movedim(0, -1)
    found = {"every other": every_other, "inside": inner, "turned": turned}
    if field.is_complex():
        found["conjugate bit"] = field.conj().resolve_conj().conj()
    return found


@pytest.mark.parametrize("dtype", [C64, C128])
def test_strides_do_not_matter(dtype: torch.dtype) -> None:
    psi, v = PSI.to(dtype), torch.stack([V, V**2])
    settings: dict[str, Any] = {"dt": 0.1, "steps": 7, "spacing": 0.5, "time_order": 4}
    expected = propagate(psi, v, **settings)
    for name, other in layouts(psi).items():
        assert bits(propagate(other, v, **settings), expected), name
    for name, other in layouts(v).items():
        assert bits(propagate(psi, other, **settings), expected), name
    plane, plane_v = PLANE.to(dtype), torch.arange(12, dtype=F64).reshape(3, 4)
    settings = {"dt": 0.1, "steps": 7, "spacing": (0.5, 0.4)}
    expected = propagate(plane, plane_v, **settings)
    for name, other in layouts(plane).items():
        assert bits(propagate(other, plane_v, **settings), expected), name
    for name, other in layouts(plane_v).items():
        assert bits(propagate(plane, other, **settings), expected), name


def test_expanded_inputs() -> None:
    settings: dict[str, Any] = {"dt": 0.1, "steps": 7, "spacing": 0.5}
    one = PSI[0]
    after = propagate(one.expand(5, 6), V.expand(5, 6), **settings)
    for row in after:
        assert bits(row, propagate(one, V, **settings))
    flat = torch.tensor(0.3, dtype=F64).expand(6)
    assert bits(propagate(PSI, flat, **settings), propagate(PSI, flat.contiguous(), **settings))


def test_nothing_is_written_to_the_inputs() -> None:
    for psi, v, spacing in ((PSI.clone(), V.clone(), 0.5), (PLANE.clone(), PLANE_V + 0.1, (0.5, 0.4))):
        copies = psi.clone(), v.clone()
        for imaginary in (False, True):
            propagate(psi, v, dt=0.1, steps=7, spacing=spacing, save_every=2, imaginary=imaginary)
        assert bits(psi, copies[0])
        assert bits(v, copies[1])


def test_single_precision_potentials_are_taken_as_they_are() -> None:
    settings: dict[str, Any] = {"dt": 0.1, "steps": 7, "spacing": 0.5}
    v = V.to(F32)
    assert bits(propagate(PSI, v, **settings), propagate(PSI, v.to(F64), **settings))
    assert bits(propagate(PSI, v.to(C64), **settings), propagate(PSI, v.to(C128), **settings))
    assert propagate(PSI.to(C64), V, **settings).dtype == C64


@pytest.mark.parametrize("time_order", [2, 4])
@pytest.mark.parametrize("imaginary", [False, True])
def test_frames_are_the_ends_of_shorter_runs(imaginary: bool, time_order: int) -> None:
    for psi, v, spacing in ((PSI, V, 0.5), (PLANE, PLANE_V + 0.1, (0.5, 0.4))):
        if imaginary and psi is PLANE and time_order == 4:
            continue
        settings: dict[str, Any] = {
            "dt": 0.1,
            "spacing": spacing,
            "imaginary": imaginary,
            "time_order": time_order,
        }
        for every, steps in ((1, 5), (2, 7), (3, 9), (7, 7), (8, 7)):
            after, frames = propagate(psi, v, steps=steps, save_every=every, **settings)
            assert frames.shape == (steps // every, *psi.shape)
            assert frames.dtype == psi.dtype
            plain = propagate(psi, v, steps=steps, **settings)
            if psi is PSI:
                assert bits(after, plain)
            else:  # a frame parts two factors of the potential that else are one: that rounds once more
                assert np.allclose(after.numpy(), plain.numpy(), atol=1e-14, rtol=0)
            for i, frame in enumerate(frames):
                shorter = propagate(psi, v, steps=(i + 1) * every, **settings)
                assert np.allclose(frame.numpy(), shorter.numpy(), atol=1e-14, rtol=0)


def test_an_axis_of_its_own_is_one_axis() -> None:
    """spacing=(h,) is spacing=h; a mass or wall in a tuple of one too."""
    settings: dict[str, Any] = {"dt": 0.1, "steps": 7}
    expected = propagate(PSI, V, spacing=0.5, mass=1.3, boundary="periodic", **settings)
    found = propagate(PSI, V, spacing=(0.5,), mass=(1.3,), boundary=("periodic",), **settings)
    assert bits(found, expected)
