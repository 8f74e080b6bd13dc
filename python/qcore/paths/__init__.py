"""Path weights: exact sums over lattice paths, actions, networks that are paths, samplers."""

from qcore.paths._potential import Polynomial, Table
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
