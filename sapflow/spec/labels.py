"""What a job's objects in a cluster are labelled with: the operator writes it, the command line reads it."""

GROUP = "sapflow.dev"
VERSION = "v1alpha1"
PLURAL = "trainingjobs"
JOB = f"{GROUP}/job"
ROLE = f"{GROUP}/role"
CELL = f"{GROUP}/cell"


def selector(job: str, role: str | None = None) -> str:
    """Selects all children of a job, or its pods of one role (worker, merger or driver)."""
    return f"{JOB}={job}" + (f",{ROLE}={role}" if role else "")
