"""Benchmarks of the path family."""
