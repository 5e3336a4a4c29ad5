"""The kinds of resources that users name: TrainingJobs and TuningJobs, which they submit, and ModelServices."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sapflow.kube.paths import Kind
from sapflow.spec.labels import GROUP, PLURAL, SERVICE_PLURAL, TUNING_PLURAL, VERSION
from sapflow.spec.model_service import SERVICE_KIND
from sapflow.spec.model_service import SHORT_NAME as SERVICE_SHORT
from sapflow.spec.training_job import KIND
from sapflow.spec.tuning_job import SHORT_NAME, TUNING_KIND

API_VERSION = f"{GROUP}/{VERSION}"


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of resource that the operator serves."""

    kind: str
    """As documents name it."""
    path: Kind
    word: str
    """As people call one."""
    short: str
    """What stands before a name to tell kinds apart, as in `tune/digits`."""


TRAINING_JOBS = JobKind(KIND, Kind(API_VERSION, PLURAL), "job", "tj")
TUNING_JOBS = JobKind(TUNING_KIND, Kind(API_VERSION, TUNING_PLURAL), "search", SHORT_NAME)
JOB_KINDS = (TRAINING_JOBS, TUNING_JOBS)
MODEL_SERVICES = JobKind(SERVICE_KIND, Kind(API_VERSION, SERVICE_PLURAL), "model service", SERVICE_SHORT)


def kind_of(document: Mapping[str, Any]) -> JobKind:
    """The kind of a resource or a document; one that names none is a TrainingJob."""
    return next((each for each in JOB_KINDS if each.kind == document.get("kind")), TRAINING_JOBS)


def service_named(name: str) -> str | None:
    """The name of the ModelService that `ms/late` names; None where no ModelService is meant."""
    short, slash, rest = name.partition("/")
    named = slash and short in (MODEL_SERVICES.short, MODEL_SERVICES.path.plural)
    # Names of resources have neither; ms/model.safetensors is a file.
    return rest if named and not {"/", "."} & set(rest) else None


def kind_named(name: str) -> tuple[JobKind | None, str]:
    """The kind that a name says, as `tune/digits` or `tj/digits`, and the name of the resource; None: it says none."""
    short, slash, rest = name.partition("/")
    found = next((each for each in JOB_KINDS if slash and short in (each.short, each.path.plural)), None)
    return (None, name) if found is None else (found, rest)
