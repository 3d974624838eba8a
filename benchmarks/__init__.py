"""Benchmarks of this package and its peers; `README.md` describes how to run them."""
