"""Pruning: how far trials are trained, and which of them go on. One module a method."""
