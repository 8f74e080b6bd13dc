"""Benchmarks of the neural ODE: three ways to its gradients."""
