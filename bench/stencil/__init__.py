"""Benchmarks of fused residual stencil chains."""
