"""Path weights: exact sums over lattice paths, actions, networks that are paths, samplers."""

from qcore.paths._closed_forms import free_kernel, mehler
from qcore.paths._lattice_oscillator import HalfLine, LatticeOscillator, lattice_oscillator
from qcore.paths._lattice_states import LatticeStates, lattice_states
from qcore.paths._potential import Polynomial, Table
from qcore.paths._propagator import propagator
from qcore.paths._run import CheckpointError, Engine, SampleResult, run
from qcore.paths._weights import Expectation, SignProblemError, Weights, expectation, weights

__all__ = [
    "CheckpointError",
    "Engine",
    "Expectation",
    "HalfLine",
    "LatticeOscillator",
    "LatticeStates",
    "Polynomial",
    "SampleResult",
    "SignProblemError",
    "Table",
    "Weights",
    "expectation",
    "free_kernel",
    "lattice_oscillator",
    "lattice_states",
    "mehler",
    "propagator",
    "run",
    "weights",
from qcore.paths._transfer import LeastActionPath, least_action_path, transfer
from qcore.paths._transfer_arguments import SignedLog

__all__ = [
    "LeastActionPath",
    "Polynomial",
    "SignedLog",
    "Table",
    "least_action_path",
    "transfer",
]
