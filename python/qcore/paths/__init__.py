"""Path weights: exact sums over lattice paths, actions, networks that are paths, samplers."""

from qcore.paths._potential import Polynomial, Table
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
