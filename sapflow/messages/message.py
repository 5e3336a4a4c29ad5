"""The base of all messages, and of the records in the store."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Message(BaseModel):
    """An immutable message, in camelCase on the wire; unknown fields are refused.

    A schema is built when it is first used, because the operator and each function use few of them.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, defer_build=True
    )

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return self.model_dump(by_alias=True, exclude_none=True)
