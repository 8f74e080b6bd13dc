"""Torch modules on the fused stencil kernels: chains, a neural ODE, a classifier of digits."""

from qcore.nn.chains import PDEChain, ResidualChain
from qcore.nn.classifier import DigitClassifier
from qcore.nn.ode import StencilODE

__all__ = ["DigitClassifier", "PDEChain", "ResidualChain", "StencilODE"]
