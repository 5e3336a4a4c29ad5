"""The ModelService as the API server checks it."""

from sapflow.spec.model_service import SHORT_NAME, ModelServiceSpec
from sapflow.spec.service_rules import service_rules
from sapflow_operator import names
from sapflow_operator.kind import Definition
from sapflow_operator.kinds.status_schema import INTEGER, NUMBER, TIME, an_object, conditions, text
from sapflow_operator.kinds.trial import Described

SERVICE_MUTABLE = ("model", "protocol", "scale", "resources", "decision", "batch", "canary", "auth", "limits")

_VERSION = {
    "revision": text(253),
    "uri": text(1024),
    "sha256": text(64),
    "percent": INTEGER | {"description": "The part of the requests that it gets."},
    "since": TIME | {"description": "When it got this part."},
}
_MODEL = {
    "uri": text(1024),
    "sha256": text(64),
    "source": text(1100) | {"description": "What named it, such as TrainingJob/flights."},
    "torch": {"type": "boolean", "description": "Whether it needs torch."},
    "entrypoint": text(253),
    "image": text(512),
}

MODEL_SERVICE = Described(
    names.MODEL_SERVICE,
    Definition(
        short_names=(SHORT_NAME,),
        description="A trained model that answers raw input with decisions.",
        spec=ModelServiceSpec,
        spec_description="What is served, and how.",
        made_from="sapflow/spec/model_service.py",
        mutable=SERVICE_MUTABLE,
        rules=tuple(
            {"rule": rule.cel, "message": rule.message, "fieldPath": f".{rule.field}"}
            for rule in service_rules()
        ),
        columns=(
            {"name": "URL", "type": "string", "jsonPath": ".status.url"},
            {"name": "Version", "type": "string", "jsonPath": ".status.version.revision"},
            {"name": "Canary", "type": "integer", "jsonPath": ".status.canary.percent"},
            {"name": "Requests", "type": "integer", "jsonPath": ".status.requests"},
            {"name": "Errors", "type": "integer", "jsonPath": ".status.errors"},
        ),
        status=an_object(
            "What is served.",
            {
                "observedGeneration": INTEGER,
                "conditions": conditions("One aspect of the service's state."),
                "url": text(1024),
                "model": an_object("The model that is to be served.", _MODEL),
                "version": an_object("The version that serves.", _VERSION),
                "canary": an_object("The version that is to take over.", _VERSION),
                "previous": an_object(
                    "The version that served before, which serves again where this one fails its golden rows.",
                    _VERSION,
                ),
                "rejected": an_object(
                    "A version that gets no requests while the spec stays as it is.",
                    {
                        "revision": text(253),
                        "reason": text(128),
                        "message": text(32_768),
                        "generation": INTEGER,
                    },
                ),
                "requests": INTEGER
                | {"description": "Requests for decisions, as far as pods were asked in time."},
                "errors": INTEGER | {"description": "Those of them that the server has failed."},
                "agreement": NUMBER
                | {"description": "The part of compared rows in which canary and version decide alike."},
            },
        ),
        condition="Ready",
    ),
)
