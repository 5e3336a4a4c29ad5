"""Asynchronous gradients: each rank computes on the newest version, and each contribution is a separate update."""
