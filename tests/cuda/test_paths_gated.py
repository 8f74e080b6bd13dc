"""Sums over gated lattice paths on the GPU kernels, against the CPU's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from devices import Elsewhere
from qcore._ops import paths as ops

NEAR = {"rtol": 1e-12, "atol": 1e-12}
BOUNDARIES = {"zero": 0, "periodic": 1, "reflect": 2, "replicate": 3}
PLUS = [0, 0, 0, 1, 0, -1, 1, 0, -1, 0]


def _chain(
    boundary: str = "zero",
    batch: int = 2,
    size: tuple[int, int] = (4, 5),
    steps: int = 3,
    offsets: list[int] = PLUS,
    outputs: list[int] | None = None,
    biased: bool = True,
) -> ops.GatedChain:
    sites = size[0] * size[1]
    taps = torch.randn(steps, len(offsets) // 2, dtype=torch.float64)
    gates = (torch.rand(steps, batch, *size, dtype=torch.float64) - 0.3).clamp(min=0)
    bias = torch.randn(steps, dtype=torch.float64) if biased else None
    ends = list(range(sites)) if outputs is None else outputs
    return ops.GatedChain(taps, offsets, gates, bias, ends, BOUNDARIES[boundary])


def _check(device: Elsewhere, function: Any, chain: ops.GatedChain, *args: Any) -> None:
    def run(taps: Tensor, gates: Tensor, bias: Tensor | None, *more: Any) -> Any:
        return function(chain._replace(taps=taps, gates=gates, bias=bias), *more)

    arguments = chain.taps, chain.gates, chain.bias, *args
    for a, b in zip(device.run(run, *arguments), run(*arguments), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, equal_nan=True, **NEAR)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("scaled", [False, True])
def test_transfer(device: Elsewhere, boundary: str, scaled: bool) -> None:
    """The Jacobian of a chain, and what its biases bring."""
    _check(device, ops.transfer, _chain(boundary), scaled)
    wide = [dy if axis == 0 else dx for dy in (-2, 0, 2) for dx in (-1, 0, 3) for axis in (0, 1)]
    _check(device, ops.transfer, _chain(boundary, offsets=wide), scaled)


@pytest.mark.parametrize("size", [(1, 1), (1, 31), (1, 32), (33, 1), (17, 16)])
def test_lattices(device: Elsewhere, size: tuple[int, int]) -> None:
    """About a warp, and more than a block; some outputs of all."""
    last = size[0] * size[1] - 1
    _check(device, ops.transfer, _chain("periodic", size=size, outputs=[0, last // 2, last]), True)


def test_large_lattice(device: Elsewhere) -> None:
    """More sites than shared memory holds rows of."""
    chain = _chain("zero", 1, (120, 130), 2, outputs=[0, 7777], biased=False)
    _check(device, ops.transfer, chain, False)


def test_many_outputs(device: Elsewhere) -> None:
    """More than go into one launch."""
    _check(device, ops.transfer, _chain("zero", 1, (17, 18), 1), False)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_of_any_size(device: Elsewhere, size: float) -> None:
    """Exponents count what neither overflows nor vanishes."""
    chain = _chain(steps=4)
    chain = chain._replace(taps=chain.taps * size)
    _check(device, ops.transfer, chain, True)
    chain.taps[1] = 0
    _check(device, ops.transfer, chain, True)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_nothing_to_do(device: Elsewhere, steps: int) -> None:
    """No layer, no input, no output."""
    for chain in (_chain(steps=steps), _chain(steps=steps, batch=0), _chain(steps=steps, outputs=[])):
        _check(device, ops.transfer, chain, False)
        _check(device, ops.enumerate_paths, chain)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_enumerate(device: Elsewhere, boundary: str) -> None:
    """Path by path."""
    _check(device, ops.enumerate_paths, _chain(boundary, biased=False))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_sample(device: Elsewhere, boundary: str) -> None:
    """The same random paths as on the CPU."""
    chain = _chain(boundary, outputs=[0, 7, 19])
    _check(device, ops.sample, chain, torch.randn(2, 4, 5, dtype=torch.float64), 1500, 3)


def test_too_many_taps(device: Elsewhere) -> None:
    """What doesn't fit a launch's settings says so."""
    chain = _chain(offsets=[0, 0] * 257)
    with pytest.raises(NotImplementedError, match="taps: more than 256 have no CUDA kernel"):
        device.run(ops.transfer, chain, False)
