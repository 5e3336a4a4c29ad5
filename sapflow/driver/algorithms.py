"""Finds the driver's side of a job's algorithm by the name of its folder."""

from importlib import import_module

from sapflow.steps.algorithm import AlgorithmDriver


def driver_of(name: str) -> type[AlgorithmDriver]:
    """The class `Driver` of `sapflow.algorithms.NAME.driver`. No other algorithm is imported."""
    found: type[AlgorithmDriver] = import_module(f"sapflow.algorithms.{name}.driver").Driver
    return found
