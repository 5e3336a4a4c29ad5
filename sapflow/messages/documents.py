"""References to documents of a job, its spec and its manifest, with what they must contain."""

import hashlib

from pydantic import Field

from sapflow.messages.message import Message


class Document(Message):
    """An object of JSON under `key`, and the SHA-256 of its bytes, which whoever reads it checks.

    Everybody who may write to the bucket could put another document there, and a spec names code that is run.
    """

    key: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @classmethod
    def of(cls, key: str, data: bytes | memoryview) -> "Document":
        """The document whose bytes are these."""
        return cls(key=key, sha256=hashlib.sha256(data).hexdigest())
