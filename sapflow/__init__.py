"""Sapflow: training neural networks on serverless functions."""

__version__ = "0.1.0"
