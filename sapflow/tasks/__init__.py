"""Learning problems, one a module: what targets are, what a model's outputs mean, its losses and metrics."""
