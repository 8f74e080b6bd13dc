"""Benchmarks of qcore against what else a user would pick: suites for pytest by family, and one report."""
