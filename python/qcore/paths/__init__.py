"""Path weights: exact sums over lattice paths, actions, networks that are paths, samplers."""

from qcore.paths._closed_forms import free_kernel, mehler
from qcore.paths._lattice_oscillator import HalfLine, LatticeOscillator, lattice_oscillator
from qcore.paths._lattice_states import LatticeStates, lattice_states
from qcore.paths._potential import Polynomial, Table
from qcore.paths._propagator import propagator

__all__ = [
    "HalfLine",
    "LatticeOscillator",
    "LatticeStates",
    "Polynomial",
    "Table",
    "free_kernel",
    "lattice_oscillator",
    "lattice_states",
    "mehler",
    "propagator",
from qcore.paths._run import CheckpointError, Engine, SampleResult, run
from qcore.paths._weights import Expectation, SignProblemError, Weights, expectation, weights

__all__ = [
    "CheckpointError",
    "Engine",
    "Expectation",
    "Polynomial",
    "SampleResult",
    "SignProblemError",
    "Table",
    "Weights",
    "expectation",
    "run",
    "weights",
]
