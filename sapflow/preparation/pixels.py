"""Encoded images to pixels by Pillow, with one outcome for every kind of file.

The first frame counts, turned as EXIF says. Palettes become their colours, CMYK red, green and blue; transparency is
left out, as Pillow's `convert` does it; of 16 bits the upper eight count. A file is refused that is none of FORMATS,
is broken, has floating-point samples, or more than MAX_PIXELS pixels.
"""

import io
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 32 << 20
"""Of a file: decoded, they take up to 128 MiB."""
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
    MemoryError,
)
"""What Pillow raises over broken files."""
_ADDRESS = re.compile(r"<[^>]* at 0x[0-9a-f]+>")
_SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")


class BadImage(ValueError):
    """A file cannot be decoded; says why, with the same words whenever it is read."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What an image is made into: scaled, then cut out of the middle."""

    channels: int
    """1 for grey (ITU-R 601-2 luma), 3 for red, green and blue."""
    resize: tuple[int, int] | None = None
    """Height and width to scale to: bilinear, over all pixels that a pixel is made of, as Pillow does it."""
    crop: tuple[int, int] | None = None
    """Height and width to cut out; where the rest is odd, the smaller half of it is above and on the left."""

    def pixels(self, data: bytes) -> np.ndarray:
        """uint8 [height, width, channels] of a file. Raises BadImage."""
        return self.of_image(_decoded(data))

    def of_array(self, pixels: np.ndarray) -> np.ndarray:
        """The same of an image that is decoded already, uint8 [height, width, 1 or 3]."""
        from PIL import Image

        return self.of_image(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))

    def of_image(self, image: "Image") -> np.ndarray:
        """The same of an image of Pillow's."""
        from PIL.Image import Resampling

        image = _converted(image, "L" if self.channels == 1 else "RGB")
        if self.resize is not None and (image.height, image.width) != self.resize:
            image = image.resize(self.resize[::-1], Resampling.BILINEAR)
        if self.crop is not None:
            height, width = self.crop
            if height > image.height or width > image.width:
                raise BadImage(
                    f"it has {image.height} × {image.width} pixels, and {height} × {width} are to be cut out: "
                    "resize it before"
                )
            top, left = (image.height - height) // 2, (image.width - width) // 2
            image = image.crop((left, top, left + width, top + height))
        return np.asarray(image).reshape(image.height, image.width, self.channels)


def size_of(data: bytes) -> tuple[int, int]:
    """Height and width of a file's image as it is to be seen. Raises BadImage."""
    image = _decoded(data)
    return image.height, image.width


def _decoded(data: bytes) -> "Image":
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of bombs and of odd files; a warning changes nothing here, and the bound is our own.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise BadImage(_too_many(image.height, image.width))
            image.load()
            return ImageOps.exif_transpose(image)
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(f"it is no image of {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"it has more than {MAX_PIXELS:,} pixels") from error
    except _BROKEN as error:
        raise BadImage(
            f"it cannot be decoded: {_ADDRESS.sub('it', str(error)) or type(error).__name__}"
        ) from error


def _too_many(height: int, width: int) -> str:
    return f"it has {height} × {width} pixels, more than {MAX_PIXELS:,}"


def _converted(image: "Image", mode: str) -> "Image":
    from PIL import Image

    if image.mode in _SIXTEEN_BITS:
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65_535) >> 8
        image = Image.fromarray(values.astype(np.uint8))
    if image.mode == "F":
        raise BadImage("its samples are floating-point numbers")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    if image.mode == mode:
        return image
    try:
        return image.convert(mode)
    except ValueError as error:
        raise BadImage(f"its colours, {image.mode}, cannot be made {mode}") from error
