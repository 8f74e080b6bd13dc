"""Scalar fields with a quartic coupling on a lattice of 1+1 dimensions: action, gradient, Laplacian."""

from __future__ import annotations

from math import prod
from typing import cast

import torch
from torch import Tensor

from qcore._ops import paths_phi4 as ops
from qcore._ops._check import require_choice, require_number, require_positive, shape, wrong_value
from qcore._ops.paths_action_check import BACKENDS, require_real

Number = float | Tensor

CONVENTIONS = ("continuum", "lattice")
_SCHEMES = ("trapezoid", "midpoint")
_BOUNDARIES = ("periodic", "open")


def phi4_action(
    phi: Tensor,
    *,
    mass2: Number,
    coupling: Number,
    spacing: float = 1.0,
    dt: float | None = None,
    convention: str = "continuum",
    scheme: str = "trapezoid",
    signature: str = "euclid",
    boundary: str = "periodic",
    backend: str = "auto",
) -> Tensor:
    r"""The action of scalar fields phi(t, i) with a phi^4 interaction, space periodic, in one pass.

    convention "continuum", with the measure a dt explicit (a the spacing):

    .. math::
        S_E = a\,dt \sum_{t,i} \Big[\frac{(\phi_{t+1,i}-\phi_{t,i})^2}{2\,dt^2} +
              \frac{(\phi_{t,i+1}-\phi_{t,i})^2}{2a^2} + \frac{m^2}{2}\phi_{t,i}^2 + g\,\phi_{t,i}^4\Big]

    convention "lattice", for spacing = dt = 1, with box the negative lattice Laplacian (Albergo, Kanwar and
    Shanahan, arXiv:1904.12072):

    .. math:: S_E = \sum [\phi\,\Box\,\phi + m^2 \phi^2 + \lambda \phi^4]

    The two agree for phi_lattice = phi_continuum / sqrt(2), the same m^2 and lambda = 4 g. The hopping form
    -2 k sum phi phi' + (1 - 2 l) phi^2 + l phi^4 is the second with phi_lattice = sqrt(k) phi_hopping,
    k (4 + m^2) = 1 - 2 l and lambda k^2 = l.

    With a measure of a the action equals that of sqrt(a) phi with measure 1 and coupling g / a. Rows of a
    lattice of two sites have two bonds. In real time ("lorentz") S is the time part minus the others.

    Args:
        phi: (..., T, L), float32 or float64: T slices in time, L sites in space; leading axes are batch.
        mass2: m^2, of either sign.
        coupling: g ("continuum") or lambda ("lattice").
        spacing: a, of sites in space.
        dt: of slices in time; a unless given.
        convention: see above.
        scheme: where all but the time part is taken: on the slices, "trapezoid", with half weight on the
            first and last one of an open field, second order in dt; or on the means of neighbouring slices,
            "midpoint", first order.
        signature: "euclid" or "lorentz".
        boundary: in time: "periodic", or "open" with T - 1 steps.
        backend: "auto", or "reference" for the plain kernel.

    Returns:
        (...), float64, with derivatives by phi, mass2 and coupling.

    Raises:
        ValueError: a shape, number or choice that isn't one of those above; a spacing or dt other than 1 in
            the convention "lattice".
        TypeError: phi is not float32 or float64, or an argument has the wrong type.

    Source: arXiv:2403.11420, 3.21-3.25, with the measure a that 3.22 and 3.25 leave out.
    """
    lattice = _Lattice(phi, mass2, coupling, spacing, dt, convention, scheme, signature, boundary, backend)
    out = cast("Tensor", ops.phi4.call(lattice.flat, lattice.factors, *lattice.settings))
    return out.reshape(lattice.lead)


def phi4_gradient(
    phi: Tensor,
    *,
    mass2: Number,
    coupling: Number,
    spacing: float = 1.0,
    dt: float | None = None,
    convention: str = "continuum",
    scheme: str = "trapezoid",
    signature: str = "euclid",
    boundary: str = "periodic",
    backend: str = "auto",
) -> Tensor:
    """dS / dphi of :func:`phi4_action` in one pass, without a forward: the force is the negative of it.

    Args:
        phi, mass2, coupling, spacing, dt, convention, scheme, signature, boundary, backend: as in
            :func:`phi4_action`.

    Returns:
        (..., T, L), of the type of phi.

    Raises:
        ValueError, TypeError: as :func:`phi4_action`.
    """
    lattice = _Lattice(phi, mass2, coupling, spacing, dt, convention, scheme, signature, boundary, backend)
    ones = torch.ones(1, lattice.flat.shape[0], dtype=torch.float64, device=phi.device)
    grad = ops.phi4_gradient.call(ones, lattice.flat, lattice.factors, *lattice.settings)
    return cast("Tensor", grad).reshape(phi.shape)


def lattice_laplacian(phi: Tensor, *, spacing: float = 1.0, dt: float | None = None) -> Tensor:
    """(phi(t+1) + phi(t-1) - 2 phi) / dt^2 + (phi(i+1) + phi(i-1) - 2 phi) / a^2, both axes periodic.

    Args:
        phi: (..., T, L), float32 or float64.
        spacing: a, of sites in space.
        dt: of slices in time; a unless given.

    Returns:
        (..., T, L), of the type of phi.

    Raises:
        ValueError, TypeError: as :func:`phi4_action`.
    """
    step = spacing if dt is None else dt
    gradient = phi4_gradient(phi, mass2=0.0, coupling=0.0, spacing=spacing, dt=dt)
    return gradient / (-spacing * step)


class _Lattice:
    """Checked arguments in the form the operators take."""

    def __init__(
        self,
        phi: Tensor,
        mass2: Number,
        coupling: Number,
        spacing: float,
        dt: float | None,
        convention: str,
        scheme: str,
        signature: str,
        boundary: str,
        backend: str,
    ) -> None:
        require_real("phi", phi)
        if phi.ndim < 2 or phi.shape[-1] < 1 or phi.shape[-2] < 1:
            raise wrong_value("phi", "shape (..., T, L) with at least one slice and one site", shape(phi))
        require_choice("convention", convention, CONVENTIONS)
        require_choice("scheme", scheme, _SCHEMES)
        require_choice("signature", signature, ("euclid", "lorentz"))
        require_choice("boundary", boundary, _BOUNDARIES)
        require_choice("backend", backend, BACKENDS)
        require_positive("spacing", spacing)
        step = spacing if dt is None else dt
        require_positive("dt", step)
        for name, value in (("mass2", mass2), ("coupling", coupling)):
            if isinstance(value, Tensor):
                if value.ndim or value.is_complex():
                    raise wrong_value(name, "a real number", shape(value))
            else:
                require_number(name, value)
        if convention == "lattice":
            for name, size in (("spacing", spacing), ("dt", step)):
                if size != 1.0:
                    raise wrong_value(name, "1 in the convention 'lattice'", size)
        self.lead = phi.shape[:-2]
        self.flat = phi.reshape(prod(self.lead), *phi.shape[-2:])
        self.settings = scheme == "midpoint", boundary == "periodic", backend
        measure, sign = spacing * step, 1.0 if signature == "euclid" else -1.0
        twice = 2.0 if convention == "lattice" else 1.0
        time, space = twice * measure / step**2, sign * twice * measure / spacing**2
        rest: list[Number] = [sign * twice * measure * mass2, sign * measure * coupling]
        if any(isinstance(value, Tensor) for value in rest):
            both = [
                v.double().cpu() if isinstance(v, Tensor) else torch.tensor(v, dtype=torch.float64)
                for v in rest
            ]
            known = torch.tensor([time, space], dtype=torch.float64)
            self.factors = torch.cat((known, torch.stack(both))).unsqueeze(0)
        else:
            self.factors = torch.tensor([[time, space, *rest]], dtype=torch.float64)
