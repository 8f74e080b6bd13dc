"""Drift, spreading and gain of layers: against an impulse sent through each, and the whole spectrum."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from qcore.nn import PDEChain, ResidualChain
from qcore.residual import layers
from qcore.stencil import residual_chain

SIZE = 33


def impulse_response(taps: torch.Tensor) -> torch.Tensor:
    """(SIZE, SIZE): what one layer makes of a unit mass in the middle."""
    x = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.float64)
    x[..., SIZE // 2, SIZE // 2] = 1.0
    return residual_chain(x, taps[None], activation="none", boundary="periodic")[0, 0]


def chain_of(kind: str) -> nn.Module:
    torch.manual_seed(1)
    if kind == "resnet5":
        return ResidualChain(4, kernel_size=5, dtype=torch.float64)
    if kind == "resnet":
        return ResidualChain(4, dtype=torch.float64)
    return PDEChain(4, advection=-0.125 if kind == "pde2" else 1.0, init="normal", dtype=torch.float64)


@pytest.mark.parametrize("kind", ["pde1", "pde2", "resnet", "resnet5"])
def test_moments_are_those_of_an_impulse(kind: str) -> None:
    chain = chain_of(kind)
    found = layers(chain)
    place = torch.arange(SIZE, dtype=torch.float64) - SIZE // 2
    for layer, taps in enumerate(chain.taps().detach()):
        response = impulse_response(taps)
        mass = response.sum()
        for axis, density in enumerate((response.sum(0) / mass, response.sum(1) / mass)):
            mean = density @ place
            torch.testing.assert_close(found.drift[layer, axis], mean, rtol=1e-11, atol=1e-12)
            variance = density @ (place - mean) ** 2
            torch.testing.assert_close(found.variance[layer, axis], variance, rtol=1e-10, atol=1e-11)
        torch.testing.assert_close(found.mass[layer], mass, rtol=1e-12, atol=0)
        assert bool(found.positive[layer]) is bool((response >= 0).all())


@pytest.mark.parametrize("kind", ["pde1", "pde2", "resnet", "resnet5"])
def test_gain_is_the_largest_of_the_spectrum(kind: str) -> None:
    chain = chain_of(kind)
    found = layers(chain)
    for layer, taps in enumerate(chain.taps().detach()):
        spectrum = torch.fft.fft2(impulse_response(taps), s=(256, 256)).abs()
        assert found.gain[layer].item() == pytest.approx(spectrum.max().item(), rel=2e-3)
        assert bool(found.stable[layer]) is bool(found.gain[layer] <= 1)


def test_closed_form_of_a_pde_layer() -> None:
    chain = PDEChain(1, advection=-0.125, dtype=torch.float64)
    with torch.no_grad():
        for parameter, value in zip(chain.parameters(), (0.8, 0.3, 0.5, -0.4, -0.05), strict=True):
            parameter.fill_(value)
    found = layers(chain)
    drift = torch.tensor([[0.125 * 0.3, -0.125 * 0.4]], dtype=torch.float64) / 0.95
    torch.testing.assert_close(found.drift, drift, rtol=1e-13, atol=1e-15)
    spread = torch.tensor([[0.64, 0.25]], dtype=torch.float64) / 0.95 - drift**2
    torch.testing.assert_close(found.variance, spread, rtol=1e-13, atol=1e-15)
    assert found.mass.item() == pytest.approx(0.95, rel=1e-14)


def test_no_layer_at_all() -> None:
    found = layers(PDEChain(0))
    assert [tuple(part.shape) for part in found] == [(0,), (0, 2), (0, 2), (0,), (0,), (0,)]
    assert [tuple(part.shape) for part in layers(ResidualChain(0))] == [
        (0,),
        (0, 2),
        (0, 2),
        (0,),
        (0,),
        (0,),
    ]


@pytest.mark.parametrize(
    ("chain", "error", "message"),
    [
        (nn.Identity(), TypeError, "chain: expected a chain of qcore.nn, got Identity"),
        (None, TypeError, "chain: expected a chain of qcore.nn, got NoneType"),
        (ResidualChain(2, channels=3), ValueError, "chain: expected one channel, got 3"),
        (PDEChain(2, channels=3, per_channel=True), ValueError, "chain: expected one channel, got 3"),
    ],
)
def test_bad_arguments(chain: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layers(chain)  # type: ignore[arg-type]
