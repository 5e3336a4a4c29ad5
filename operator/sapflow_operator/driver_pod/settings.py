"""The settings of a driver: its pod's environment variables, and the job in a mounted file."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError

from sapflow.errors import SpecError
from sapflow.kube.access import ACCOUNT, server_url
from sapflow.objects import keys
from sapflow.planning.placement import Placement
from sapflow.spec import resolved
from sapflow.spec.resolved import ResolvedJob
from sapflow_operator import names

Text = Annotated[str, Field(min_length=1)]


class DriverSettings(BaseModel):
    """The driver's settings; `VARIABLES` maps them to environment variables."""

    model_config = ConfigDict(frozen=True)
    store: Text
    token_file: Text
    api_host: Text
    api_port: Annotated[int, Field(ge=1, le=65535)] = 443
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    max_instances: Annotated[int, Field(ge=0)] = 0
    """Number of functions of this job that the cluster can run at once, for the planner; 0 means any number."""
    images: Json[dict[str, str]] = Field(default_factory=dict)
    """The images of the job's functions by role, which its commits record."""
    deadline: datetime | None = None
    """When the job must have ended, if it has a deadline."""
    job_file: Path = Path(names.JOB_FILE)
    placement_file: Path = Path(names.PLACEMENT_FILE)
    service_account: Path = ACCOUNT
    termination_log: Path = Path(names.TERMINATION_LOG)
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = names.DRIVER_METRICS_PORT

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "DriverSettings":
        """Read the settings. Raises SpecError, which names every variable that is missing or wrong."""
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

    @property
    def api_url(self) -> str:
        """The URL of the API server."""
        return server_url(self.api_host, self.api_port)

    def read_document(self) -> Any:
        """The operator's document of what is driven, whose metadata hold its namespace and uid. Raises SpecError."""
        try:
            document = json.loads(self.job_file.read_text())
        except (OSError, ValueError) as error:
            raise SpecError([(str(self.job_file), f"cannot be read: {error}")]) from error
        metadata = document.get("metadata", {}) if isinstance(document, dict) else {}
        missing = [name for name in ("namespace", "uid") if not metadata.get(name)]
        if missing:
            raise SpecError(
                [(f"metadata.{name}", "is missing: the operator writes it there") for name in missing]
            )
        return document

    def read_job(self) -> ResolvedJob:
        """The job to drive. Raises SpecError."""
        document = self.read_document()
        return resolved.read(document, keys.job(document["metadata"]["uid"]))

    def read_placement(self) -> Placement | None:
        """The operator's packing of the job into cells; None if functions may run anywhere. Raises SpecError."""
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
    "SAPFLOW_MAX_INSTANCES": "max_instances",
    "SAPFLOW_DEADLINE": "deadline",
    "SAPFLOW_IMAGES": "images",
}
