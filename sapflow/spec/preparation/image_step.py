"""The step over images."""

from typing import Literal

from pydantic import Field

from sapflow.spec.preparation.columns import ColumnName, Size
from sapflow.spec.types import Model


class ImageSpec(Model):
    """Decodes images to bytes [height, width, channels]. One that cannot be decoded is a bad row."""

    column: ColumnName = Field(description="The column of images.")
    resize: Size | None = Field(
        None, description="Height and width to scale to, bilinear; left out: as they are."
    )
    crop: Size | None = Field(
        None, description="Height and width to cut out of the middle, after resize; left out: all."
    )
    channels: Literal[1, 3] | None = Field(
        None, description="1 for grey, 3 for red, green and blue; left out: 3."
    )
