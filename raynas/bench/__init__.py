"""Benchmarks of proxies against what architectures reached once they were trained."""
