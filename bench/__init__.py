"""Benchmarks of speed and size with goals: `python -m bench [row …]` measures both sides of each ratio in one run."""
