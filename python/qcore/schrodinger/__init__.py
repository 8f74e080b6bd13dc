"""Schroedinger and diffusion equations on grids of 1 to 3 axes, by many fused implicit steps in one call."""

from .cayley import cayley
from .fourier import split_step
from .gross_pitaevskii import chemical_potential, gross_pitaevskii, gross_pitaevskii_energy
from .gross_pitaevskii_ground import GrossPitaevskiiState, gross_pitaevskii_ground_state
from .hamiltonian import hamiltonian, kinetic_symbol
from .observables import (
    Spectrum,
    autocorrelation,
    energy,
    expectation,
    momentum,
    norm,
    probability_current,
    spectrum,
    transmission,
)
from .propagate import propagate
from .scattering import barrier_transmission, sech2_transmission
from .stationary import GroundState, eigenstates, ground_state

__all__ = [
    "GrossPitaevskiiState",
    "GroundState",
    "Spectrum",
    "autocorrelation",
    "barrier_transmission",
    "cayley",
    "chemical_potential",
    "eigenstates",
    "energy",
    "expectation",
    "gross_pitaevskii",
    "gross_pitaevskii_energy",
    "gross_pitaevskii_ground_state",
    "ground_state",
    "hamiltonian",
    "kinetic_symbol",
    "momentum",
    "norm",
    "probability_current",
    "propagate",
    "sech2_transmission",
    "spectrum",
    "split_step",
    "transmission",
]
