"""A file of several documents: searches and jobs that run one after the other, on what those before have found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sapflow.client.tuning import uid_of
from sapflow.errors import SpecError
from sapflow.spec import field_paths, service_document, tuning_document
from sapflow.spec.training_job import KIND
from sapflow.spec.tuning_job import TUNING_KIND
from sapflow.tuning.found_parameters import FIELD

_SEARCH = f"{FIELD}.search"


def checked(documents: Sequence[Any]) -> list[Any]:
    """The documents of a file, each of which is a search or a job, in an order in which they can run.

    Raises SpecError where one is neither, two have one name, or a job stands before the search that it waits for.
    """
    if not documents:
        raise SpecError([("(document)", f"must hold a {KIND} or a {TUNING_KIND}, and is empty")])
    if len(documents) == 1:
        return list(documents)
    for place, document in enumerate(documents):
        if service_document.is_service(document):
            remedy = "take it out, and give the job or the search whose model it serves a spec.serve"
            raise SpecError([(_place(place), f"is a ModelService, which runs nothing: {remedy}")])
        if kind_of(document) not in (KIND, TUNING_KIND):
            raise SpecError(
                [(_place(place), f"must be a {KIND} or a {TUNING_KIND}, got {kind_of(document)!r}")]
            )
    _check_names(documents)
    return list(documents)


def linked(documents: Sequence[Any]) -> list[Any]:
    """The documents of a file, whose jobs name searches of the same file by what these are called in a store of this
    machine. Raises SpecError."""
    found = checked(documents)
    if len(found) == 1:
        return found
    uids: dict[str, str] = {}
    for place, document in enumerate(found):
        if tuning_document.is_tuning(document):
            try:
                uids[name_of(document)] = uid_of(tuning_document.parse(document))
            except SpecError as error:
                error.add_note(f"({_place(place)} {name_of(document)})")
                raise
        elif (search := field_paths.value_at(document, _SEARCH)) in uids:
            found[place] = field_paths.replaced(document, _SEARCH, uids[search])
    return found


def search_of(document: Any) -> str | None:
    """The search that a job's document names, None if it names none."""
    found = field_paths.value_at(document, _SEARCH)
    return None if found is None else str(found)


def kind_of(document: Any) -> str | None:
    """The kind that a document says it is of."""
    return document.get("kind") if isinstance(document, Mapping) else None


def name_of(document: Any) -> str:
    """What a document calls itself."""
    return str(field_paths.value_at(document, "metadata.name"))


def _check_names(documents: Sequence[Any]) -> None:
    named = Counter((kind_of(each), name_of(each)) for each in documents)
    searches = [name_of(each) if tuning_document.is_tuning(each) else None for each in documents]
    for place, document in enumerate(documents):
        kind, name = kind_of(document), name_of(document)
        if named[(kind, name)] > 1:
            raise SpecError(
                [(f"{_place(place)} metadata.name", f"{name!r} is there twice: give each {kind} its own")]
            )
        search = search_of(document)
        if search is not None and search in searches[place:]:
            raise SpecError(
                [(f"{_place(place)} {_SEARCH}", f"{search!r} stands below: put the search before the job")]
            )


def _place(place: int) -> str:
    return f"document {place + 1}"
