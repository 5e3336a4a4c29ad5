"""The roles of functions."""

from typing import Literal

Role = Literal["worker", "merger"]
