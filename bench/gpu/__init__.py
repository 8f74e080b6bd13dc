"""Benchmarks of the GPU kernels; `python -m bench.gpu` runs them all."""
