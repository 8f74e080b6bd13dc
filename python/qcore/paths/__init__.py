"""Path weights: exact sums over lattice paths, actions, networks that are paths, samplers."""

from qcore.paths._potential import Polynomial, Table

__all__ = ["Polynomial", "Table"]
