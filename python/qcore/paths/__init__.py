"""Path weights: exact sums over lattice paths, actions, networks that are paths, samplers."""

from qcore.paths._action import ActionParts, action, action_from_acceleration, action_from_velocity
from qcore.paths._bridges import gaussian_paths, levy_bridge
from qcore.paths._canonical import CanonicalPath, canonical_form
from qcore.paths._closed_forms import free_kernel, mehler
from qcore.paths._cosine_features import cosine_kurtosis, cosine_two_point, random_cosine_paths
from qcore.paths._dmc import Dmc, dmc
from qcore.paths._ground import FewSamplesError, PathIntegral, ground_state_wavefunction, partition_function
from qcore.paths._hmc import Hmc, hmc
from qcore.paths._hmc_phi4 import HmcPhi4, hmc_phi4
from qcore.paths._langevin import Diverged, Langevin, langevin
from qcore.paths._lattice_oscillator import HalfLine, LatticeOscillator, lattice_oscillator
from qcore.paths._lattice_states import LatticeStates, lattice_states
from qcore.paths._metropolis import Metropolis, metropolis
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
    "CanonicalPath",
    "CheckpointError",
    "Diverged",
    "Dmc",
    "Engine",
    "Expectation",
    "FewSamplesError",
    "HalfLine",
    "Hmc",
    "HmcPhi4",
    "Langevin",
    "LatticeOscillator",
    "LatticeStates",
    "LeastActionPath",
    "Metropolis",
    "PathIntegral",
    "Polynomial",
    "SampleResult",
    "SignProblemError",
    "SignedLog",
    "Table",
    "Weights",
    "action",
    "action_from_acceleration",
    "action_from_velocity",
    "canonical_form",
    "cosine_kurtosis",
    "cosine_two_point",
    "dmc",
    "expectation",
    "free_kernel",
    "from_acceleration",
    "from_cosine",
    "from_velocity",
    "gaussian_paths",
    "ground_state_wavefunction",
    "hmc",
    "hmc_phi4",
    "langevin",
    "lattice_laplacian",
    "lattice_oscillator",
    "lattice_states",
    "least_action_path",
    "levy_bridge",
    "log_jacobian",
    "mehler",
    "metropolis",
    "partition_function",
    "phi4_action",
    "phi4_gradient",
    "propagator",
    "random_cosine_paths",
    "run",
    "to_acceleration",
    "to_cosine",
    "to_velocity",
    "transfer",
    "weights",
]
