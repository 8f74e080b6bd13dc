"""The mass that a chain keeps: against the states themselves, closed forms, and the published diagnosis."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from qcore.nn import PDEChain, ResidualChain
from qcore.residual import mass_kept


def ring(size: int = 28) -> torch.Tensor:
    """A ring of radius 6, as an image (1, 1, size, size)."""
    y, x = torch.meshgrid(*[torch.arange(size, dtype=torch.float64) - (size - 1) / 2] * 2, indexing="ij")
    return torch.exp(-(((x.hypot(y) - 6) / 1.2) ** 2))[None, None]


def test_is_the_share_of_the_states_sums() -> None:
    chain = ResidualChain(6, channels=2, activation="tanh", dtype=torch.float64)
    x = torch.randn(3, 2, 5, 7, dtype=torch.float64)
    kept = mass_kept(chain, x)
    u, sums = x, [x.abs().sum((1, 2, 3))]
    for layer in range(6):
        part = ResidualChain(1, channels=2, activation="tanh", dtype=torch.float64)
        part.weight.data = chain.weight.data[layer : layer + 1]
        u = part(u)
        sums.append(u.abs().sum((1, 2, 3)))
    torch.testing.assert_close(kept, torch.stack(sums) / sums[0], rtol=1e-13, atol=0)
    assert not kept.requires_grad


def test_a_positive_step_in_a_ring_keeps_everything() -> None:
    chain = PDEChain(20, boundary="periodic", dtype=torch.float64)
    with torch.no_grad():
        for parameter, value in (
            (chain.alpha, 0.6),
            (chain.beta, 0.2),
            (chain.sigma, 0.5),
            (chain.rho, -0.2),
        ):
            parameter.fill_(value)
        chain.gamma.fill_(0.01)
    kept = mass_kept(chain, torch.rand(2, 1, 9, 9, dtype=torch.float64))
    expected = 1.01 ** torch.arange(21, dtype=torch.float64)
    torch.testing.assert_close(kept, expected[:, None].expand(-1, 2), rtol=1e-12, atol=0)


def test_untrained_deep_network_1_loses_its_image_and_network_2_does_not() -> None:
    torch.manual_seed(0)
    left = {}
    for advection in (1.0, -1.0 / 8.0):
        chains = [PDEChain(50, advection=advection, dtype=torch.float64) for _ in range(40)]
        left[advection] = torch.stack([mass_kept(chain, ring())[:, 0] for chain in chains])
    # Section 2 of the theory, 60 draws: medians after 50 layers 0.0020 and 0.92, 90 % of draws below 1 %.
    assert left[1.0][:, 50].median() < 0.01
    assert (left[1.0][:, 50] < 0.01).double().mean() > 0.7
    assert left[-1.0 / 8.0][:, 50].median() > 0.85
    assert left[1.0][:, 27].median() > 0.4


def test_starts_with_ones_whatever_the_depth() -> None:
    assert torch.equal(mass_kept(PDEChain(0), torch.rand(2, 1, 4, 4)), torch.ones(1, 2))
    assert mass_kept(PDEChain(3), torch.zeros(1, 1, 4, 4)).isnan().all()


@pytest.mark.parametrize(
    ("chain", "x", "error", "message"),
    [
        (
            nn.Identity(),
            torch.rand(1, 1, 4, 4),
            TypeError,
            "chain: expected a chain of qcore.nn, got Identity",
        ),
        (3, torch.rand(1, 1, 4, 4), TypeError, "chain: expected a chain of qcore.nn, got int"),
        (PDEChain(2), "x", TypeError, "x: expected a torch.Tensor, got str"),
        (PDEChain(2), torch.rand(1, 2, 4, 4), ValueError, r"x: expected shape \(B, 1, H, W\)"),
    ],
)
def test_bad_arguments(chain: object, x: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mass_kept(chain, x)  # type: ignore[arg-type]
