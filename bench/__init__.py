"""Benchmarks. Not run by the tests."""
