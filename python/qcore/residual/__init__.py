"""What a chain of residual stencil layers is: a generator, a random walk, a sum over paths.

A layer psi <- relu(w psi + k * psi) multiplies a plane wave by its symbol, spreads mass as a step of a random
walk, and sums over one step of all lattice paths; the functions here say each of these exactly and in the
approximations of the residual-networks paper.
"""

from qcore.residual.layers import Layers, layers
from qcore.residual.paths import LogPathSum, Paths, PathSamples, PathSum, path_sum
from qcore.residual.signal import mass_kept

__all__ = [
    "Layers",
    "LogPathSum",
    "PathSamples",
    "PathSum",
    "Paths",
    "layers",
    "mass_kept",
    "path_sum",
]
