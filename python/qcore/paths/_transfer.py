"""Sums over all lattice paths of a line, step by step, in four semirings."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias, overload

import torch
from torch import Tensor

from qcore._ops import paths_transfer as _ops
from qcore._ops._check import require_bool, require_choice, require_tensor, shape, wrong_type, wrong_value
from qcore._ops.paths_transfer_check import BACKENDS

from ._transfer_arguments import Chain, SignedLog, Weights, make_chain
from ._transfer_routes import dense_transfer, fourier_transfer, prefers_fourier

METHODS = ("auto", "direct", "fft")

Result: TypeAlias = "Tensor | SignedLog | tuple[Tensor, Tensor]"


class LeastActionPath(NamedTuple):
    """The path of the largest weight.

    Attributes:
        log_weight: (...,), its logarithm, -action; -inf where no path leads to the end.
        sites: (..., N + 1) int64, the sites x_0 ... x_N; -1 where there is no path.
    """

    log_weight: Tensor
    sites: Tensor


@overload
def transfer(
    psi0: Tensor,
    taps: Tensor,
    *,
    potential: Tensor | None = ...,
    gates: Tensor | None = ...,
    steps: int | None = ...,
    boundary: str = ...,
    semiring: str = ...,
    out_exponent: Literal[False] = ...,
    dense: bool = ...,
    method: str = ...,
    backend: str = ...,
) -> Tensor: ...
@overload
def transfer(
    psi0: Tensor,
    taps: Tensor,
    *,
    potential: Tensor | None = ...,
    gates: Tensor | None = ...,
    steps: int | None = ...,
    boundary: str = ...,
    semiring: str = ...,
    out_exponent: Literal[True],
    dense: bool = ...,
    method: str = ...,
    backend: str = ...,
) -> tuple[Tensor, Tensor]: ...
@overload
def transfer(
    psi0: Weights,
    taps: Weights,
    *,
    potential: Tensor | None = ...,
    gates: Weights | None = ...,
    steps: int | None = ...,
    boundary: str = ...,
    semiring: str = ...,
    out_exponent: bool = ...,
    dense: bool = ...,
    method: str = ...,
    backend: str = ...,
) -> Result: ...
def transfer(
    psi0: Weights,
    taps: Weights,
    *,
    potential: Tensor | None = None,
    gates: Weights | None = None,
    steps: int | None = None,
    boundary: str = "zero",
    semiring: str = "real",
    out_exponent: bool = False,
    dense: bool = False,
    method: str = "auto",
    backend: str = "auto",
) -> Result:
    r"""Sum the weights of all lattice paths: N steps of

    .. math::
        \psi_{t+1}(x) = e^{-V_t(x)}\, g_t(x) \sum_d T_t(d)\, \psi_t(x + d)

    on a line of M sites, with d = -(K//2) ... K//2: :math:`\psi_N(x_N)` is the sum over all
    :math:`x_0 \ldots x_{N-1}` of :math:`\psi_0(x_0) \prod_t T_t(x_t - x_{t+1}) e^{-V_t(x_{t+1})}
    g_t(x_{t+1})`. All steps are one fused call; gradients come from one backward sweep over at most
    about sqrt(N) kept states.

    The semirings "log" and "max" take logarithms of psi0, taps and gates and return logarithms; the potential
    is subtracted. "log" sums, in any range of magnitudes; -inf is a weight of zero, stays what it is and has
    gradient zero. Its gradients are posterior marginals: that of logsumexp(psi_N) with respect to V_t(x)
    is minus the share of the paths that are at x after step t. Sums are as good as the logarithms they are
    given as: one near -1e5 has a spacing of 1.5e-11 in float64, of 0.008 in float32. "max" keeps of all paths
    into a site the best, whose steps alone get a gradient; of equals the one whose last steps have the
    smallest d.

    Args:
        psi0: (..., M) float32 or float64; complex64 or complex128 in the semiring "complex". In "log" also a
            :class:`SignedLog`.
        taps: T(d), K of them, K odd, the middle one d = 0: (K,), (1 or N, K), or (1 or N, *batch, K) with the
            batch axes of psi0 or ones in their place. `dense`: matrices (..., M, M) in their place, rows
            x_{t+1}, columns x_t. Converted to the dtype of psi0, as are the next two.
        potential: V: (M,), (1 or N, M), or (1 or N, *batch, M). exp(-V); complex in "complex" if wanted.
        gates: g, in the same shapes. Logarithms in "log" and "max".
        steps: N >= 0; None: as many as taps, potential or gates are given for.
        boundary: "zero": a path that leaves the line is lost. "periodic": the ends are joined (not for
            `dense`).
        semiring: "real", "complex", "log" or "max".
        out_exponent: ("real", "complex") rescale by powers of two on the way and return their logarithm:
            psi_N is out * 2**exponent, however long the chain.
        dense: taps are matrices. A matrix product a step, left to torch, whose gradients keep every state.
        method: "direct" adds products, which keeps every entry's relative accuracy where weights are
            positive; "fft" multiplies spectra, at errors of 1e-16 (float32: 1e-7) of the *largest* entry;
            "auto": "fft" where it is faster and all entries are within a factor of 1000 of each other, else
            "direct".
        backend: "auto", or "reference", the plain loops that the fused kernels are tested against.

    Returns:
        psi_N, (..., M); a SignedLog where an argument is one; with `out_exponent` the pair (out, exponent),
        exponent int64 of the batch shape: the largest real or imaginary part of out is in [1, 2).

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; "fft" where it does not apply
            (potentials, gates, taps per step or problem, "zero" boundaries in more than one step) or would
            destroy what was asked for (logarithms, exponents, positive weights whose sums span more than the
            precision).

    Source: residual-network paper, path-sum section, in the exact form with gates; Kac, Trans. Am. Math. Soc.
    65 (1949) 1 for the potential; forward-backward marginals as gradients: Eisner, EMNLP Workshop on
    Structured Prediction (2016) 1.
    """
    require_choice("method", method, METHODS)
    require_choice("backend", backend, BACKENDS)
    require_bool("out_exponent", out_exponent)
    require_bool("dense", dense)
    chain = make_chain(psi0, taps, potential, gates, steps, boundary, semiring, dense)
    if out_exponent and semiring not in ("real", "complex"):
        raise wrong_value("out_exponent", f"False in the semiring {semiring!r}", out_exponent)
    linear = semiring in ("real", "complex")
    if dense:
        if method == "fft" or backend != "auto":
            raise wrong_value("dense", "False with a method or backend of its own", dense)
        if boundary != "zero":
            raise wrong_value("boundary", "'zero' for dense matrices, which say all", repr(boundary))
        return _result(chain, dense_transfer(chain, semiring, out_exponent), out_exponent)
    if method == "fft":
        return fourier_transfer(chain, boundary, semiring, out_exponent).reshape(chain.shape)
    if method == "auto" and backend == "auto" and linear and not out_exponent:
        found = prefers_fourier(chain, boundary)
        if found is not None:
            return found.reshape(chain.shape)
    name = "linear" if linear else semiring
    found_pair = _ops.transfer.call(
        chain.psi, chain.taps, chain.factor, *chain.signs, chain.steps, boundary, name, out_exponent, backend
    )
    return _result(chain, found_pair, out_exponent)


def _result(chain: Chain, found: tuple[Tensor, Tensor], out_exponent: bool) -> Result:
    out, second = found
    out = out.reshape(chain.shape)
    if out_exponent:
        return out, second.detach().long().reshape(chain.shape[:-1])
    if chain.signed:
        return SignedLog(second.detach().reshape(chain.shape), out)
    return out


def least_action_path(
    psi0: Tensor,
    taps: Tensor,
    *,
    potential: Tensor | None = None,
    gates: Tensor | None = None,
    steps: int | None = None,
    boundary: str = "zero",
    end: int | Tensor | None = None,
) -> LeastActionPath:
    """Find the path of the largest weight, or least action, of a chain in the semiring "max" of `transfer`.

    Memory grows with sqrt(N) M for each problem: states between are found again on the way back.

    Args:
        psi0, taps, potential, gates, steps, boundary: as in :func:`transfer` with semiring="max": logarithms.
        end: the site x_N, an int or int64 (...,) of the batch shape; None: the best one, of equals the first.

    Returns:
        LeastActionPath. Of equally good paths the one that, followed back from its end, takes the smallest d
        at every step. The weight is differentiable, the sites aren't.

    Raises:
        TypeError, ValueError: as `transfer`; an end that is no site.

    Source: Viterbi, IEEE Trans. Inf. Theory 13 (1967) 260.
    """
    chain = make_chain(psi0, taps, potential, gates, steps, boundary, "max", False)
    inputs = chain.psi, chain.taps, chain.factor
    weights, _ = _ops.transfer.call(*inputs, None, None, None, chain.steps, boundary, "max", False, "auto")
    batch = chain.shape[:-1]
    # Of equals torch gives the first, and a NaN before all.
    ends = weights.detach().argmax(-1) if end is None else _ends(end, batch, chain.psi).reshape(-1)
    sites = _ops.best_path(*inputs, ends, chain.steps, boundary)
    best = weights.gather(-1, ends.unsqueeze(-1)).reshape(batch)
    return LeastActionPath(best, sites.reshape(*batch, chain.steps + 1))


def _ends(end: int | Tensor, batch: tuple[int, ...], psi: Tensor) -> Tensor:
    sites = psi.shape[-1]
    if isinstance(end, bool) or not isinstance(end, int | Tensor):
        raise wrong_type("end", "an int or an int64 tensor", type(end).__name__)
    ends = torch.full(batch, end, dtype=torch.int64, device=psi.device) if isinstance(end, int) else end
    require_tensor("end", ends)
    if ends.dtype != torch.int64 or tuple(ends.shape) != batch:
        raise wrong_value("end", f"int64 of shape {batch}", f"{ends.dtype} of {shape(ends)}")
    if ends.numel() and not 0 <= int(ends.min()) <= int(ends.max()) < sites:
        raise wrong_value("end", f"sites from 0 to {sites - 1}", end)
    return ends
