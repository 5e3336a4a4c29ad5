"""What all messages are made of, records in the store included."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Message(BaseModel):
    """Base: camelCase on the wire, unknown fields refused, immutable.

    Each schema is built when first used: the operator and each function use few of them.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, defer_build=True
    )

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return self.model_dump(by_alias=True, exclude_none=True)
