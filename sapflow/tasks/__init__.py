"""Learning problems, one per module: the meaning of targets and of a model's outputs, losses and metrics."""
