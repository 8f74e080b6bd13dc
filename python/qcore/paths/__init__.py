"""Path weights: exact sums over lattice paths, actions, networks that are paths, samplers."""

from qcore.paths._bridges import gaussian_paths, levy_bridge
from qcore.paths._dmc import Dmc, dmc
from qcore.paths._ground import FewSamplesError, PathIntegral, ground_state_wavefunction, partition_function
from qcore.paths._hmc import Hmc, hmc
from qcore.paths._hmc_phi4 import HmcPhi4, hmc_phi4
from qcore.paths._langevin import Diverged, Langevin, langevin
from qcore.paths._metropolis import Metropolis, metropolis
from qcore.paths._potential import Polynomial, Table
from qcore.paths._run import CheckpointError, Engine, SampleResult, run
from qcore.paths._weights import Expectation, SignProblemError, Weights, expectation, weights

__all__ = [
    "CheckpointError",
    "Diverged",
    "Dmc",
    "Engine",
    "Expectation",
    "FewSamplesError",
    "Hmc",
    "HmcPhi4",
    "Langevin",
    "Metropolis",
    "PathIntegral",
    "Polynomial",
    "SampleResult",
    "SignProblemError",
    "Table",
    "Weights",
    "dmc",
    "expectation",
    "gaussian_paths",
    "ground_state_wavefunction",
    "hmc",
    "hmc_phi4",
    "langevin",
    "levy_bridge",
    "metropolis",
    "partition_function",
    "run",
    "weights",
]
