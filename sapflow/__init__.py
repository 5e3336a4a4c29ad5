"""Sapflow: training neural networks on serverless functions.

These names are Sapflow's interface for Python programs; docs/python.md explains it with examples. Each name is imported
when it is first used, so `import sapflow` takes almost no time.
"""

from sapflow.release import RELEASE as __version__

TYPE_CHECKING = False  # importing typing itself takes longer than everything here
if TYPE_CHECKING:
    from sapflow.client.by_name import diff as diff
    from sapflow.client.by_name import export as export
    from sapflow.client.by_name import fork as fork
    from sapflow.client.by_name import verify as verify
    from sapflow.client.cluster_client import Client as Client
    from sapflow.client.cluster_client import ClusterJob as ClusterJob
    from sapflow.client.cluster_tuning import ClusterSearch as ClusterSearch
    from sapflow.client.cluster_tuning import ClusterTrial as ClusterTrial
    from sapflow.client.cluster_tuning import SearchResult as SearchResult
    from sapflow.client.cluster_tuning import SearchState as SearchState
    from sapflow.client.diff import Difference as Difference
    from sapflow.client.inspection import Inspected as Inspected
    from sapflow.client.inspection import inspect as inspect
    from sapflow.client.named_report import report as report
    from sapflow.client.predict import Predictor as Predictor
    from sapflow.client.predict import load as load_model
    from sapflow.client.run import Run as Run
    from sapflow.client.run import run as run
    from sapflow.client.served import Served as Served
    from sapflow.client.tracking import export_to as export_to
    from sapflow.client.training_job import TrainingJob as TrainingJob
    from sapflow.client.tune import TuningResult as TuningResult
    from sapflow.client.tune import tune as tune
    from sapflow.client.values import Progress as Progress
    from sapflow.client.values import Result as Result
    from sapflow.client.verify import VerifiedJob as VerifiedJob
    from sapflow.errors import DataError as DataError
    from sapflow.errors import JobFailed as JobFailed
    from sapflow.errors import JobStopped as JobStopped
    from sapflow.errors import SapflowError as SapflowError
    from sapflow.errors import SpecError as SpecError
    from sapflow.errors import StoreError as StoreError

_PLACES = {
    "Client": "sapflow.client.cluster_client",
    "ClusterJob": "sapflow.client.cluster_client",
    "ClusterSearch": "sapflow.client.cluster_tuning",
    "ClusterTrial": "sapflow.client.cluster_tuning",
    "DataError": "sapflow.errors",
    "Difference": "sapflow.client.diff",
    "Inspected": "sapflow.client.inspection",
    "JobFailed": "sapflow.errors",
    "JobStopped": "sapflow.errors",
    "Predictor": "sapflow.client.predict",
    "Progress": "sapflow.client.values",
    "Result": "sapflow.client.values",
    "Run": "sapflow.client.run",
    "SapflowError": "sapflow.errors",
    "SearchResult": "sapflow.client.cluster_tuning",
    "SearchState": "sapflow.client.cluster_tuning",
    "SpecError": "sapflow.errors",
    "StoreError": "sapflow.errors",
    "TrainingJob": "sapflow.client.training_job",
    "Served": "sapflow.client.served",
    "TuningResult": "sapflow.client.tune",
    "VerifiedJob": "sapflow.client.verify",
    "diff": "sapflow.client.by_name",
    "export": "sapflow.client.by_name",
    "export_to": "sapflow.client.tracking",
    "fork": "sapflow.client.by_name",
    "inspect": "sapflow.client.inspection",
    "load_model": "sapflow.client.predict",
    "report": "sapflow.client.named_report",
    "run": "sapflow.client.run",
    "tune": "sapflow.client.tune",
    "verify": "sapflow.client.by_name",
}
"""The module that defines each name."""
_NAMES = {"load_model": "load"}

__all__ = [
    "Client",
    "ClusterJob",
    "ClusterSearch",
    "ClusterTrial",
    "DataError",
    "Difference",
    "Inspected",
    "JobFailed",
    "JobStopped",
    "Predictor",
    "Progress",
    "Result",
    "Run",
    "SapflowError",
    "SearchResult",
    "SearchState",
    "Served",
    "SpecError",
    "StoreError",
    "TrainingJob",
    "TuningResult",
    "VerifiedJob",
    "__version__",
    "diff",
    "export",
    "export_to",
    "fork",
    "inspect",
    "load_model",
    "report",
    "run",
    "tune",
    "verify",
]


if not TYPE_CHECKING:  # type checkers know the names from above, and that there are no others

    def __getattr__(name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module 'sapflow' has no attribute {name!r}")
        from importlib import import_module

        found = getattr(import_module(_PLACES[name]), _NAMES.get(name, name))
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
