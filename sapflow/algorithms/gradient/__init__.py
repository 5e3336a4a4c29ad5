"""Synchronous stochastic gradients: a step waits for every worker, and the root applies the optimiser to their mean."""
