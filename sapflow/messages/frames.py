"""Requests and answers as bytes: JSON, followed by binary attachments if there are any.

A message is a JSON object. If it has a field `attachments`, which maps names to bytes, it is encoded as a frame: a
mark, the length of the JSON text as four bytes (little-endian), the text with the size of each attachment instead of
its bytes, and the attachments one after the other. Without attachments a message is plain JSON. Platforms that allow
only JSON (OpenWhisk) get attachments as base64.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from sapflow.text import parse_json

ATTACHMENTS = "attachments"
_MARK = b"\0SF1"
_HEAD = len(_MARK) + 4


def encode(message: Mapping[str, Any]) -> bytes:
    """The message as bytes."""
    attached: Mapping[str, bytes] = message.get(ATTACHMENTS) or {}
    if not attached:
        return json.dumps({name: value for name, value in message.items() if name != ATTACHMENTS}).encode()
    sizes = {name: len(content) for name, content in attached.items()}
    text = json.dumps({**message, ATTACHMENTS: sizes}).encode()
    return b"".join([_MARK, len(text).to_bytes(4, "little"), text, *attached.values()])


def decode(content: bytes) -> Any:
    """The JSON value, with views on `content` for attachments. Raises ValueError if it is neither JSON nor a frame."""
    if not content.startswith(_MARK):
        return parse_json(content)
    stop = _HEAD + int.from_bytes(content[len(_MARK) : _HEAD], "little")
    message = parse_json(content[_HEAD:stop])
    sizes = message.get(ATTACHMENTS) if isinstance(message, dict) else None
    if not isinstance(sizes, dict) or not all(isinstance(size, int) and size >= 0 for size in sizes.values()):
        raise ValueError("the frame does not say how large its attachments are")
    view, attached = memoryview(content), {}
    for name, size in sizes.items():
        attached[name] = view[stop : stop + size]
        stop += size
    if stop != len(content):
        raise ValueError(f"the frame has {len(content)} bytes, and says that it has {stop}")
    return {**message, ATTACHMENTS: attached}


def to_json(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message as a JSON value, with attachments in base64."""
    attached = message.get(ATTACHMENTS)
    if not attached:
        return {name: value for name, value in message.items() if name != ATTACHMENTS}
    texts = {name: base64.b64encode(content).decode() for name, content in attached.items()}
    return {**message, ATTACHMENTS: texts}


def from_json(message: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `to_json`. Raises ValueError if attachments are not base64."""
    attached = message.get(ATTACHMENTS)
    if not attached:
        return dict(message)
    if not isinstance(attached, Mapping):
        raise ValueError("the message's attachments are no object")
    try:
        contents = {name: base64.b64decode(text, validate=True) for name, text in attached.items()}
    except (binascii.Error, TypeError) as error:
        raise ValueError(f"the message's attachments are not base64: {error}") from error
    return {**message, ATTACHMENTS: contents}
