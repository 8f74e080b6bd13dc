"""A ReLU chain as a sum over lattice paths: all of them summed, listed one by one, or sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qcore._ops import _check
from qcore._ops import paths as _ops
from qcore._ops.stencil_check import BOUNDARIES
from qcore.stencil import residual_chain

_METHODS = ("transfer", "enumerate", "sample")
_DOMAINS = ("linear", "log")
_MOST_PATHS = 2**24
_SLOPES = {"relu": 0.0, "none": 1.0}


class PathSum(NamedTuple):
    """All paths, summed: weights @ x + from_bias is the chain's output."""

    weights: Tensor
    """(B, R, M): for each output and each input site the sum over the paths between them; the Jacobian."""
    from_bias: Tensor
    """(B, R): the sum over paths that start from a bias."""


class LogPathSum(NamedTuple):
    """All paths, summed, as logarithms and signs; nothing is the pair -inf, 0."""

    log_weights: Tensor
    """(B, R, M): log of the absolute sums."""
    signs: Tensor
    """(B, R, M): -1, 0 or 1."""
    log_from_bias: Tensor
    """(B, R)"""
    bias_signs: Tensor
    """(B, R)"""


class Paths(NamedTuple):
    """Every path. Path p takes step c_t = p // K^(t-1) % K at layer t, so x_{t-1} = x_t + offsets[c_t]."""

    weights: Tensor
    """(B, R, K^N): prod_t g_t(x_t) T_t(c_t); 0 for a path that leaves the lattice."""
    signs: Tensor
    """(B, R, K^N): -1, 0 or 1."""
    log_weights: Tensor
    """(B, R, K^N): log |weight|, -inf for 0."""
    starts: Tensor
    """(R, K^N), int64: the site x_0, or -1 beyond a zero boundary."""
    offsets: Tensor
    """(K, 2), int64: row and column of the steps: the taps that are not zero in all layers, row by row."""


class PathSamples(NamedTuple):
    """Random paths: an unbiased estimate of the chain's output."""

    estimate: Tensor
    """(B, R)"""
    error: Tensor
    """(B, R): its standard error, estimated from the same paths."""
    samples: int
    """Paths of each estimate."""


@overload
def path_sum(
    taps: Tensor | nn.Module,
    x: Tensor,
    *,
    skip: float | Tensor = ...,
    bias: Tensor | None = ...,
    boundary: str = ...,
    method: Literal["transfer"] = ...,
    outputs: Tensor | Sequence[int] | None = ...,
    domain: Literal["linear"] = ...,
    absolute: bool = ...,
    samples: int = ...,
    seed: int = ...,
) -> PathSum: ...


@overload
def path_sum(
    taps: Tensor | nn.Module,
    x: Tensor,
    *,
    skip: float | Tensor = ...,
    bias: Tensor | None = ...,
    boundary: str = ...,
    method: Literal["transfer"] = ...,
    outputs: Tensor | Sequence[int] | None = ...,
    domain: Literal["log"],
    absolute: bool = ...,
    samples: int = ...,
    seed: int = ...,
) -> LogPathSum: ...


@overload
def path_sum(
    taps: Tensor | nn.Module,
    x: Tensor,
    *,
    skip: float | Tensor = ...,
    bias: Tensor | None = ...,
    boundary: str = ...,
    method: Literal["enumerate"],
    outputs: Tensor | Sequence[int] | None = ...,
    domain: Literal["linear"] = ...,
    absolute: bool = ...,
    samples: int = ...,
    seed: int = ...,
) -> Paths: ...


@overload
def path_sum(
    taps: Tensor | nn.Module,
    x: Tensor,
    *,
    skip: float | Tensor = ...,
    bias: Tensor | None = ...,
    boundary: str = ...,
    method: Literal["sample"],
    outputs: Tensor | Sequence[int] | None = ...,
    domain: Literal["linear"] = ...,
    absolute: bool = ...,
    samples: int = ...,
    seed: int = ...,
) -> PathSamples: ...


def path_sum(
    taps: Tensor | nn.Module,
    x: Tensor,
    *,
    skip: float | Tensor = 1.0,
    bias: Tensor | None = None,
    boundary: str = "zero",
    method: str = "transfer",
    outputs: Tensor | Sequence[int] | None = None,
    domain: str = "linear",
    absolute: bool = False,
    samples: int = 10_000,
    seed: int = 0,
) -> PathSum | LogPathSum | Paths | PathSamples:
    r"""The exact sum over gated lattice paths of a ReLU chain run on x.

    With T_t(d) = skip_t at d = 0 plus taps_t(d), and the gate g_t(x) = 1 where the chain's state at layer t
    is positive, else 0,

    .. math::
        \psi_N(x_N) = \sum_{x_{N-1} \ldots x_0} \prod_{t=1}^N g_t(x_t)\, T_t(x_{t-1} - x_t)\, \psi_0(x_0)
                      + \text{the same from every bias}.

    The gates are those that this x opens, so the sum is exact though it is not linear in x. The summed
    weights between two sites are the entries of the Jacobian of the chain.

    Args:
        taps: (N, 1, K) or (N, 1, K, K) as in :func:`qcore.stencil.residual_chain`, or a chain of
            :mod:`qcore.nn` of one channel with the activation relu, leaky_relu (a closed gate lets its slope
            through) or none, whose taps, bias and boundary then count.
        x: (B, 1, M) or (B, 1, H, W); sites are counted row by row, y * W + x.
        skip, bias, boundary: as in residual_chain; for taps that are a tensor.
        method: "transfer" sums over all paths, layer by layer; O(N K M) for each output. "enumerate" lists
            every path, K^N for each output. "sample" draws paths backwards from the outputs, each step with a
            probability in proportion to \|T_t\|.
        outputs: (R,) sites to end at; all if None.
        domain: of "transfer": "log" gives logarithms and signs, which neither overflow nor vanish at any
            depth; entries of a row that are smaller than its largest by a factor of 1e-308 are lost.
        absolute: count every path by the size of its weight. For "transfer" and "enumerate"; divided by the
            absolute values of the signed sums it tells how much of them cancels.
        samples: number of paths of each estimate of "sample", 2 or more.
        seed: of "sample", 0 <= seed < 2**64. Paths depend on the seed, the output, and the number of the
            input in the batch, not on threads nor on other outputs.

    Returns:
        "transfer": PathSum, or LogPathSum in the log domain; "enumerate": Paths; "sample": PathSamples. All
        in the dtype of x, computed in float64, without gradients.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape or value; more than 2**24 listed paths.

    Source: exact statement that replaces eq. 26-33 of the residual-network paper, which split
    ReLU(u + v) into ReLU(u) + ReLU(v) and give each path a factor kappa w with a logarithm; the factor is the
    gate, 0 or 1.
    """
    _check.require_tensor("x", x)
    _check.require_choice("method", method, _METHODS)
    _check.require_choice("domain", domain, _DOMAINS)
    if domain == "log" and method != "transfer":
        raise _check.wrong_value("domain", f"'linear' for the method {method!r}", repr(domain))
    if not isinstance(absolute, bool):
        raise _check.wrong_type("absolute", "a bool", type(absolute).__name__)
    if absolute and method == "sample":
        raise _check.wrong_value("absolute", "False for the method 'sample'", absolute)
    with torch.no_grad():
        chain = _gated(taps, x, skip, bias, boundary, outputs, absolute)
        if method == "enumerate":
            return _enumerate(chain, x.dtype)
        if method == "sample":
            return _sample(chain, x, samples, seed)
        weights, from_bias, exponents = _ops.transfer(chain, domain == "log")
        if exponents is None:
            return PathSum(weights.to(x.dtype), from_bias.to(x.dtype))
        scale = exponents * math.log(2.0)
        parts = (
            weights.abs().log() + scale[..., :1],
            weights.sign(),
            from_bias.abs().log() + scale[..., 1],
            from_bias.sign(),
        )
        return LogPathSum(*(part.to(x.dtype) for part in parts))


def _enumerate(chain: _ops.GatedChain, dtype: torch.dtype) -> Paths:
    count = math.prod(chain.rows) * chain.paths
    if count > _MOST_PATHS:
        steps, kernel = chain.taps.shape
        listed = f"{kernel}^{steps} paths into {len(chain.outputs)} outputs for {chain.rows[0]} inputs"
        raise _check.wrong_value(
            "taps", "at most 2^24 paths to list in all (outputs= asks for fewer)", listed
        )
    weights, starts = _ops.enumerate_paths(chain)
    offsets = torch.tensor(chain.offsets, dtype=torch.int64).reshape(-1, 2)
    # Signs and logarithms also of what is too small for the dtype.
    signs, logs = weights.sign().to(dtype), weights.abs().log().to(dtype)
    return Paths(weights.to(dtype), signs, logs, starts, offsets)


def _sample(chain: _ops.GatedChain, x: Tensor, samples: int, seed: int) -> PathSamples:
    for name, value, least, below in (("samples", samples, 2, 2**32), ("seed", seed, 0, 2**64)):
        _check.require_count(name, value)
        if not least <= value < below:
            raise _check.wrong_value(name, f"an int from {least} to 2^{below.bit_length() - 1} - 1", value)
    psi0 = x.double().reshape(x.shape[0], *chain.gates.shape[2:]).contiguous()
    mean, variance = _ops.sample(chain, psi0, samples, seed)
    return PathSamples(mean.to(x.dtype), variance.sqrt().to(x.dtype), samples)


def _gated(
    taps: Tensor | nn.Module,
    x: Tensor,
    skip: float | Tensor,
    bias: Tensor | None,
    boundary: str,
    outputs: Tensor | Sequence[int] | None,
    absolute: bool,
) -> _ops.GatedChain:
    """The chain with its gates, as the kernels take it."""
    activation, slope = "relu", 0.0
    if isinstance(taps, nn.Module):
        if (isinstance(skip, Tensor) or skip != 1.0) or bias is not None or boundary != "zero":
            raise _check.wrong_value("taps", "a tensor where skip, bias or boundary are given", "a chain")
        taps, bias, boundary, activation, slope = _of_module(taps)
    _check.require_tensor("taps", taps)
    if x.ndim not in (3, 4) or x.shape[1] != 1 or x.dtype not in (torch.float32, torch.float64):
        got = f"{_check.shape(x)} of {x.dtype}"
        raise _check.wrong_value("x", "shape (B, 1, M) or (B, 1, H, W) of float32 or float64", got)
    _, states = residual_chain(
        x,
        taps,
        skip=skip,
        bias=bias,
        activation=activation,
        slope=slope,
        boundary=boundary,
        states_every=1,
    )
    steps, sizes = len(taps), (1, *x.shape[2:])[-2:]
    kernel = (1, *taps.shape[2:])[-2:]
    merged = taps.double().reshape(steps, *kernel)
    weight = (
        skip.double().reshape(-1, 1, 1)
        if isinstance(skip, Tensor)
        else torch.tensor(float(skip), dtype=torch.float64, device=taps.device)
    )
    one = F.pad(merged.new_ones(1, 1), [k // 2 for k in reversed(kernel) for _ in range(2)])
    merged = merged + weight * one
    used = (merged != 0).any(0) | (one != 0)
    places = used.nonzero()
    offsets = places.cpu() - torch.tensor([k // 2 for k in kernel])
    flat = merged[:, used]
    # At NaN a gate is open, as in the derivative of residual_chain.
    opened = (~(states.reshape(steps, x.shape[0], *sizes) <= 0)).double()
    gates = opened + _closed(activation, slope) * (1.0 - opened)
    per_layer = None if bias is None else bias.double().reshape(steps).contiguous()
    if absolute:
        flat, gates = flat.abs(), gates.abs()
        per_layer = None if per_layer is None else per_layer.abs()
    sites = math.prod(sizes)
    code = BOUNDARIES[boundary]
    ends = _ends(outputs, sites)
    return _ops.GatedChain(
        flat.contiguous(), offsets.flatten().tolist(), gates.contiguous(), per_layer, ends, code
    )


def _closed(activation: str, slope: float) -> float:
    """What a gate lets through where the state is not positive."""
    return slope if activation == "leaky_relu" else _SLOPES[activation]


def _of_module(chain: nn.Module) -> tuple[Tensor, Tensor | None, str, str, float]:
    named: Any = chain
    if not callable(getattr(chain, "taps", None)) or not isinstance(getattr(chain, "boundary", None), str):
        raise _check.wrong_type("taps", "a tensor or a chain of qcore.nn", type(chain).__name__)
    if named.activation not in ("relu", "leaky_relu", "none"):
        raise _check.wrong_value(
            "taps", "a chain with the activation 'relu', 'leaky_relu' or 'none'", repr(named.activation)
        )
    if named.channels != 1:
        raise _check.wrong_value("taps", "a chain of one channel", named.channels)
    return named.taps(), named.bias, named.boundary, named.activation, named.slope


def _ends(outputs: Tensor | Sequence[int] | None, sites: int) -> list[int]:
    if outputs is None:
        return list(range(sites))
    if not isinstance(outputs, (Tensor, Sequence)):
        raise _check.wrong_type("outputs", "a tensor or a sequence of integers", type(outputs).__name__)
    listed = outputs.tolist() if isinstance(outputs, Tensor) else list(outputs)
    if isinstance(outputs, Tensor) and (outputs.ndim != 1 or outputs.dtype != torch.int64):
        raise _check.wrong_value(
            "outputs", "shape (R,) of int64", f"{_check.shape(outputs)} of {outputs.dtype}"
        )
    for site in listed:
        if isinstance(site, bool) or not isinstance(site, int):
            raise _check.wrong_type("outputs", "integers", type(site).__name__)
        if not 0 <= site < sites:
            raise _check.wrong_value("outputs", f"sites from 0 to {sites - 1}", site)
    return listed
