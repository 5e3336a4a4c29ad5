"""Labels of a job's objects in a cluster. The operator writes them, and the command line reads them."""

GROUP = "sapflow.dev"
VERSION = "v1alpha1"
PLURAL = "trainingjobs"
TUNING_PLURAL = "tuningjobs"
TRIAL_PLURAL = "trials"
SERVICE_PLURAL = "modelservices"
JOB = f"{GROUP}/job"
ROLE = f"{GROUP}/role"
KIND = f"{GROUP}/kind"
"""Of the children of a resource that is no TrainingJob: its kind."""
CELL = f"{GROUP}/cell"
TUNING = f"{GROUP}/tuning"
"""Of the object of a trial: the name of its search."""


def selector(job: str, role: str | None = None) -> str:
    """A label selector for all children of a job, or for its pods of one role (worker, merger or driver)."""
    return f"{JOB}={job}" + (f",{ROLE}={role}" if role else "")


def of_kind(kind: str) -> str:
    """A label selector for the children of resources of this kind: two kinds may each have one of the same name."""
    return f"!{KIND}" if kind == "TrainingJob" else f"{KIND}={kind}"
