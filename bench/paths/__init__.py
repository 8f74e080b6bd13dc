"""Benchmarks of path sums, actions and samplers."""
