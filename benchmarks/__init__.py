"""Measurements of raynas: `python -m benchmarks` lists them, runs them and keeps their figures."""
