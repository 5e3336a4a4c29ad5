"""Asynchronous gradients: ranks compute on whatever version is newest, each contribution is an update of its own."""
