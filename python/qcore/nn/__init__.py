"""Torch modules on the fused stencil kernels: residual chains, and a classifier of digits around them."""

from qcore.nn.chains import PDEChain, ResidualChain
from qcore.nn.classifier import DigitClassifier

__all__ = ["DigitClassifier", "PDEChain", "ResidualChain"]
