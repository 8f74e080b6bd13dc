"""Torch modules: chains of stencil layers, a neural ODE, a classifier, and networks that are paths."""

from qcore.nn.chains import PDEChain, ResidualChain
from qcore.nn.classifier import DigitClassifier
from qcore.nn.ode import StencilODE
from qcore.nn.paths import CosinePath, ReluPath, StepPath

__all__ = [
    "CosinePath",
    "DigitClassifier",
    "PDEChain",
    "ReluPath",
    "ResidualChain",
    "StencilODE",
    "StepPath",
]
