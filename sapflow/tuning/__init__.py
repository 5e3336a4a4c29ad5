"""The search for hyperparameters: which trials are trained, how far, and what has been found."""
