"""The driver's side of the algorithm that a job asks for, by the name of its folder."""

from importlib import import_module

from sapflow.steps.algorithm import AlgorithmDriver


def driver_of(name: str) -> type[AlgorithmDriver]:
    """The class `Driver` of `sapflow.algorithms.NAME.driver`; no algorithm but the job's own is loaded."""
    found: type[AlgorithmDriver] = import_module(f"sapflow.algorithms.{name}.driver").Driver
    return found
