"""The ModelService: a trained model that answers raw input with decisions. Its parts are in `serving/`, rules between
fields in service_rules.py.

The CRD is generated from these models, and service_document.py parses YAML into them.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from sapflow.spec.serving.serve import ServingSpec
from sapflow.spec.training_job import Metadata, StorageSpec
from sapflow.spec.types import MODEL_FILE_PATTERN, SHA256_PATTERN, Dotted, Image, JobName, Model, Name

SERVICE_KIND = "ModelService"
SHORT_NAME = "ms"


class ServedModelSpec(Model):
    """Which model: the result of a job or of a search of this namespace, or a file of its own."""

    job: JobName | None = Field(None, description="A TrainingJob, whose result is served.")
    tuning: Name | None = Field(None, description="A TuningJob, whose best trial's model is served.")
    uri: Annotated[str, StringConstraints(pattern=MODEL_FILE_PATTERN, max_length=1024)] | None = Field(
        None, description="A model.safetensors in the store: `s3://bucket/…/model.safetensors`."
    )
    sha256: Annotated[str, StringConstraints(pattern=SHA256_PATTERN, max_length=64)] | None = Field(
        None, description="The SHA-256 of that file: no other is served."
    )
    entrypoint: Dotted | None = Field(
        None,
        description="With uri: the `package.module:factory` that the file names, which is the consent to run it. A "
        "job's own is known.",
    )
    image: Image | None = Field(
        None, description="With entrypoint: an image that has it, made from Sapflow's worker image."
    )


class ModelServiceSpec(ServingSpec):
    """What is served, and how."""

    model: ServedModelSpec
    storage: StorageSpec | None = Field(
        None, description="Where the model is; left out: the operator's own store."
    )


class ModelService(Model):
    """A checked ModelService."""

    api_version: Literal["sapflow.dev/v1alpha1"]
    kind: Literal["ModelService"]
    metadata: Metadata
    spec: ModelServiceSpec

    def to_json(self) -> dict[str, Any]:
        """The service as a JSON value; `service_document.parse` reads it back."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True)
