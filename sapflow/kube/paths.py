"""The paths of objects on an API server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: its API version (`v1`, `batch/v1`) and its plural in paths."""

    api_version: str
    plural: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The path of an object; without a name that of the list, and without a namespace that of the list of all."""
        root = "/api/v1" if self.api_version == "v1" else f"/apis/{self.api_version}"
        place = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (f"{root}{place}/{self.plural}", name, subresource) if part)
