"""Path weights: exact sums over lattice paths, actions, networks that are paths, samplers."""

from qcore.paths._action import ActionParts, action, action_from_acceleration, action_from_velocity
from qcore.paths._closed_forms import free_kernel, mehler
from qcore.paths._lattice_oscillator import HalfLine, LatticeOscillator, lattice_oscillator
from qcore.paths._lattice_states import LatticeStates, lattice_states
from qcore.paths._networks import (
    from_acceleration,
    from_cosine,
    from_velocity,
    log_jacobian,
    to_acceleration,
    to_cosine,
    to_velocity,
)
from qcore.paths._phi4 import lattice_laplacian, phi4_action, phi4_gradient
from qcore.paths._potential import Polynomial, Table
from qcore.paths._propagator import propagator
from qcore.paths._run import CheckpointError, Engine, SampleResult, run
from qcore.paths._transfer import LeastActionPath, least_action_path, transfer
from qcore.paths._transfer_arguments import SignedLog
from qcore.paths._weights import Expectation, SignProblemError, Weights, expectation, weights

__all__ = [
    "ActionParts",
    "CheckpointError",
    "Engine",
    "Expectation",
    "HalfLine",
    "LatticeOscillator",
    "LatticeStates",
    "LeastActionPath",
    "Polynomial",
    "SampleResult",
    "SignProblemError",
    "SignedLog",
    "Table",
    "Weights",
    "action",
    "action_from_acceleration",
    "action_from_velocity",
    "expectation",
    "free_kernel",
    "from_acceleration",
    "from_cosine",
    "from_velocity",
    "lattice_laplacian",
    "lattice_oscillator",
    "lattice_states",
    "least_action_path",
    "log_jacobian",
    "mehler",
    "phi4_action",
    "phi4_gradient",
    "propagator",
    "run",
    "to_acceleration",
    "to_cosine",
    "to_velocity",
    "transfer",
    "weights",
]
