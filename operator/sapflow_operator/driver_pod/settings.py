"""What a driver's pod tells its driver: its environment, and the job in a mounted file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sapflow.errors import SpecError
from sapflow.kube.access import ACCOUNT, server_url
from sapflow.planning.placement import Placement
from sapflow.records.memory_search import SearchSettings
from sapflow.spec.document import parse
from sapflow.spec.training_job import CpuSpec, TrainingJob
from sapflow_operator import names

Text = Annotated[str, Field(min_length=1)]


class DriverSettings(BaseModel):
    """The driver's settings; `VARIABLES` names the variable of each that has one."""

    model_config = ConfigDict(frozen=True)
    store: Text
    token_file: Text
    api_host: Text
    api_port: Annotated[int, Field(ge=1, le=65535)] = 443
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    grow_on_oom: bool = False
    """Whether the operator gives a function killed for memory more, so that too little is no error beforehand."""
    max_instances: Annotated[int, Field(ge=0)] = 0
    """Functions of this job that the cluster can run at once, for the planner; 0: any number."""
    cpu: CpuSpec | None = None
    """CPU limits of the functions, which the job file leaves out."""
    memory_search: SearchSettings | None = None
    """For the workers' best size, where the spec asks for it."""
    job_file: Path = Path(names.JOB_FILE)
    placement_file: Path = Path(names.PLACEMENT_FILE)
    service_account: Path = ACCOUNT
    termination_log: Path = Path(names.TERMINATION_LOG)
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = names.DRIVER_METRICS_PORT

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "DriverSettings":
        """Raises SpecError naming every variable that is missing or wrong."""
        given: dict[str, Any] = {
            field: environ[variable] for variable, field in VARIABLES.items() if environ.get(variable)
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            variables = {field: variable for variable, field in VARIABLES.items()}
            raise SpecError(
                [
                    (variables.get(str(item["loc"][0]), str(item["loc"][0])), item["msg"])
                    for item in error.errors()
                ]
            ) from error

    @field_validator("memory_search", "cpu", mode="before")
    @classmethod
    def _decoded(cls, value: object) -> object:
        """The variable holds JSON; what it is not is left to the model to refuse."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            return value

    @property
    def api_url(self) -> str:
        """Of the API server."""
        return server_url(self.api_host, self.api_port)

    def whole(self, job: TrainingJob) -> TrainingJob:
        """The job with what its file leaves out because functions refuse it: for planning and the bill."""
        memory = job.spec.memory.model_copy(update={"grow_on_oom": self.grow_on_oom})
        spec = job.spec.model_copy(update={"cpu": self.cpu, "memory": memory})
        return job.model_copy(update={"spec": spec})

    def read_job(self) -> TrainingJob:
        """The job, whose metadata hold its namespace and uid. Raises SpecError."""
        try:
            document = json.loads(self.job_file.read_text())
        except (OSError, ValueError) as error:
            raise SpecError([(str(self.job_file), f"cannot be read: {error}")]) from error
        job = parse(document)
        missing = [name for name in ("namespace", "uid") if not getattr(job.metadata, name, None)]
        if missing:
            raise SpecError(
                [(f"metadata.{name}", "is missing: the operator writes it there") for name in missing]
            )
        return job

    def read_placement(self) -> Placement | None:
        """How the operator has packed the job into cells; None where it runs anywhere. Raises SpecError."""
        try:
            return Placement.read(json.loads(self.placement_file.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SpecError([(str(self.placement_file), f"cannot be read: {error!r}")]) from error


VARIABLES = {
    "SAPFLOW_STORE": "store",
    "SAPFLOW_TOKEN_FILE": "token_file",
    "KUBERNETES_SERVICE_HOST": "api_host",
    "KUBERNETES_SERVICE_PORT": "api_port",
    "SAPFLOW_LOG_LEVEL": "log_level",
    "SAPFLOW_GROW_ON_OOM": "grow_on_oom",
    "SAPFLOW_MAX_INSTANCES": "max_instances",
    "SAPFLOW_CPU": "cpu",
    "SAPFLOW_MEMORY_SEARCH": "memory_search",
}
