"""Answers how large the models of several jobs are, for a driver that has no torch."""

from dataclasses import asdict

from sapflow.data.blocks import Manifest
from sapflow.errors import SpecError
from sapflow.messages.replies import ModelSize
from sapflow.messages.requests import MeasureRequest
from sapflow.objects.documents import read_document
from sapflow.objects.stores.protocol import Store
from sapflow.spec.document import parse
from sapflow.training import estimate


def model_sizes(store: Store, request: MeasureRequest) -> list[ModelSize]:
    """The size of each job's model, or what is wrong with the job. Raises StoreError."""
    manifest = Manifest.from_json(read_document(store, request.manifest))
    found = []
    for document in request.jobs:
        try:
            found.append(ModelSize(**asdict(estimate.measure(parse(document, request.runtime), manifest))))
        except SpecError as error:
            found.append(ModelSize(problems=[(str(field), str(said)) for field, said in error.problems]))
    return found
