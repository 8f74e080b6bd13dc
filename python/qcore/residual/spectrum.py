"""What one layer does to a plane wave: the logarithm of its symbol, exactly and in two approximations."""

from __future__ import annotations

import torch
from torch import Tensor

from qcore._ops import _check
from qcore.residual._kernels import FORMS, expand, merge, points, require_nonzero_skip, split
from qcore.stencil import symbol


def generator(taps: Tensor, skip: complex | Tensor, p: Tensor, form: str = "exact") -> Tensor:
    r"""Generator of each layer: it multiplies the wave e^{ip.x} by e^{generator}, its activation left aside.

    A layer is w + f = w (1 + Omega), with the skip w, the convolution f and the quotient Omega~ = f~/w~ of
    their symbols, w~(p) = sum over offsets d of w(d) e^{ip.d}. The forms are

    ``"exact"``
        log(w~ (1 + Omega~)), computed as log(w~ + f~), so that w~ = 0 does no harm.
    ``"linear"``
        log w~ + Omega~: exact to first order in Omega. The error is at most
        \|Omega~\|^2 / (2 (1 - \|Omega~\|)) where \|Omega~\| < 1, and N layers multiply a wave by
        1 + N Omega~^2 / 2 too much: the convolution has to be small beside the skip.
    ``"pde"``
        The second-order expansion of "linear" at p = 0. For a skip that is a number, h - a^2 p^2 / 2 + i b p
        + g with h = log w; of the layers of :func:`qcore.stencil.pde_taps` these are their own a, b and g,
        of other kernels g = sum f(d), b = sum d f(d) and a^2 = sum d^2 f(d), over w. In more dimensions
        the vector b and the matrix of d_i d_j stand for b and a^2.

    Args:
        taps: (T, C or 1, *K) with 1 to 3 space axes, as in :func:`qcore.stencil.residual_chain`; real or
            complex.
        skip: weight of the identity: a number, (T,) or (T, C); or the kernel (T, C or 1, *K) of a
            convolutional skip, of odd sizes that may differ from those of the taps.
        p: real wave numbers in radians per grid point: (...) in one dimension; (..., 2) ordered (px, py) in
            two and (..., 3) ordered (px, py, pz) in three. "pde" is not periodic: take -pi < p <= pi.
        form: "exact", "linear" or "pde".

    Returns:
        (T, C, ...), complex. Logarithms are principal values, with imaginary parts in (-pi, pi]; a wave that
        a layer inverts gets i pi, as a negative skip does in the other forms. Sums over layers can leave
        the interval, and e to the power of the sum is right all the same. A wave that a layer takes away has
        the exact generator -inf. Differentiable to all tensors, but for that point.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; a skip whose symbol is 0, for
            "linear" at one of the p and for "pde" at p = 0.

    Source: eq. 29-33 of the residual-network paper, which has "linear" and "pde". Note: the paper assumes
        w << f; the step to the exponential needs the opposite.
    """
    _check.require_choice("form", form, FORMS)
    w, f = split(taps, skip, allow_complex=True)
    wave = points("p", p, taps.ndim - 2)
    if form == "exact":
        return torch.log(symbol(merge(w, f), p, 0.0))
    if form == "linear":
        gain = symbol(w, p, 0.0)
        require_nonzero_skip(gain, form)
        return gain.log() + symbol(f, p, 0.0) / gain
    require_nonzero_skip(w.flatten(2).sum(2), form)
    at_zero = expand(w, f)
    dtype = torch.promote_types(torch.promote_types(w.dtype, p.dtype), torch.complex64)
    wave = wave.to(dtype)
    squares = (wave.unsqueeze(-1) * wave.unsqueeze(-2)).flatten(-2)
    constant = at_zero.skip.to(dtype).log() + at_zero.growth
    drift = torch.tensordot(at_zero.mean.to(dtype), wave, dims=([2], [-1]))
    spread = torch.tensordot(at_zero.covariance.to(dtype).flatten(2), squares, dims=([2], [-1]))
    constant = constant.reshape(*constant.shape, *(1,) * (drift.ndim - 2))
    expansion: Tensor = constant - 1j * drift - spread / 2
    return expansion


def hamiltonian(taps: Tensor, skip: complex | Tensor, p: Tensor, form: str = "exact") -> Tensor:
    """Euclidean Hamiltonian of each layer in momentum space: minus the :func:`generator`.

    A layer acts as e^{-H}, a step of one unit of imaginary time of d psi / d tau = -H psi. In the form "pde"
    H = a^2 p^2 / 2 - i b p - g - h: kinetic energy, a drift that makes H non-Hermitian, and the Euclidean
    potential -(g + h), so that growth is an attractive well. Re H is minus the logarithm of a wave's gain:
    above 0 for one that decays, inf for one that a layer takes away.

    Arguments, result and errors are those of the generator.

    Source: eq. 29-33 of the residual-network paper. Note: the paper calls the generator itself the
        Hamiltonian and writes e^{+H}, and its potential V of eq. 36-38 is minus the Euclidean one.
    """
    return -generator(taps, skip, p, form)
