"""Where an API server keeps a kind: the paths of its objects."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind by its API version (`v1`, `batch/v1`) and the plural that paths name it by."""

    api_version: str
    plural: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Of an object; without a name of the list, without a namespace of the list of all."""
        root = "/api/v1" if self.api_version == "v1" else f"/apis/{self.api_version}"
        place = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (f"{root}{place}/{self.plural}", name, subresource) if part)
