"""HMC, Langevin motion and diffusion Monte Carlo with every instruction set: a process each."""

from __future__ import annotations

import pytest

from processes import with_isa
from qcore import _core
from qcore.paths import dmc, hmc, langevin
from qcore.paths._hmc_phi4 import field_model

from .dynamics import assert_near
from .test_dmc import digest as dmc_digest
from .test_hmc import QUARTIC
from .test_hmc import digest as hmc_digest
from .test_hmc_phi4 import digest as phi4_digest
from .test_hmc_phi4 import exact_2x2
from .test_hmc_phi4 import small as small_phi4
from .test_langevin import digest as langevin_digest

FUSED = [isa for isa in _core.isa_available() if isa.endswith(("v3", "v4"))]
OTHERS = [isa for isa in _core.isa_available() if isa not in FUSED]


def digests() -> str:
    """Of the bits of all samplers of this process."""
    return "\n".join(digest() for digest in (hmc_digest, phi4_digest, langevin_digest, dmc_digest))


@pytest.mark.skipif(len(FUSED) < 2, reason="needs two instruction sets with a fused multiply-add")
def test_the_same_bits_from_every_fused_multiply_add() -> None:
    assert len({with_isa(isa, digests) for isa in FUSED}) == 1


def samples_the_same_laws() -> None:
    """As an instruction set without fused multiply-add must, which rounds differently."""
    result = hmc(QUARTIC, slices=16, beta=2.0, chains=64, sweeps=300, warmup=100, fourier_acceleration=True)
    assert_near(result, x2=0.2645977668, x4=0.1901155090, exp_minus_dh=1.0)
    settings = {"mass2": 0.7, "coupling": 0.5}
    result = small_phi4(shape=(2, 2), chains=64, trajectories=500, warmup=100, **settings)
    assert_near(result, **exact_2x2(field_model(**settings)))
    result = langevin([0.0, 0.0, 0.5], scheme="heun", dt=0.2, chains=512, steps=1024, warmup=128)
    assert_near(result, x2=0.9890109890 / 2)
    result = dmc([0.0, 0.0, 0.5], dt=0.5, walkers=1000, warmup=100, steps=4000)
    assert abs(result["energy_growth"].mean - 0.49493) < 4 * result["energy_growth"].error + 5e-4


@pytest.mark.parametrize("isa", OTHERS)
def test_the_same_laws_from_the_others(isa: str) -> None:
    with_isa(isa, samples_the_same_laws)
