"""Benchmarks of implicit Schroedinger steps."""
