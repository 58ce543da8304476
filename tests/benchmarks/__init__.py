"""Tests of the benchmarks: their arithmetic, their C programs, and that they leave nothing running."""
