"""What a chain of residual stencil layers is: a generator, a random walk, a sum over paths.

A layer psi <- relu(w psi + k * psi) multiplies a plane wave by its symbol, spreads mass as a step of a random
walk, and sums over one step of all lattice paths; the functions here say each of these exactly and in the
approximations of the residual-networks paper.
"""

from qcore.residual.gaussian import Lagrangian, action, gaussian_kernel, lagrangian
from qcore.residual.layers import Layers, layers
from qcore.residual.legendre import discrete_lagrangian
from qcore.residual.paths import LogPathSum, Paths, PathSamples, PathSum, path_sum
from qcore.residual.signal import mass_kept
from qcore.residual.spectrum import generator, hamiltonian
from qcore.residual.walk import Moments, composed_kernel, moments

__all__ = [
    "Lagrangian",
    "Layers",
    "LogPathSum",
    "Moments",
    "PathSamples",
    "PathSum",
    "Paths",
    "action",
    "composed_kernel",
    "discrete_lagrangian",
    "gaussian_kernel",
    "generator",
    "hamiltonian",
    "lagrangian",
    "layers",
    "mass_kept",
    "moments",
    "path_sum",
]
