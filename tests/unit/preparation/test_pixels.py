"""Every kind of image file has one outcome."""

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sapflow.preparation import pixels
from sapflow.preparation.pixels import BadImage, Shape, size_of

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
COLOUR = Image.fromarray(COLOURS)
GREY = COLOUR.convert("L")
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "JPEG": ("L", "RGB", "CMYK"),
    "GIF": ("L", "P", "RGB"),
    "BMP": ("1", "L", "P", "RGB"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr"),
    "PPM": ("1", "L", "RGB"),
}


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(("form", "mode"), [(form, mode) for form, modes in MODES.items() for mode in modes])
def test_a_file_of_each_kind_is_decoded_to_either_number_of_channels(form: str, mode: str) -> None:
    data = encoded(COLOUR.convert(mode), form)
    assert size_of(data) == (6, 9)
    plain = Image.open(io.BytesIO(data))
    for channels, converted in ((1, "L"), (3, "RGB")):
        found = Shape(channels).pixels(data)
        expected = np.asarray(plain.convert(converted)).reshape(6, 9, channels)
        np.testing.assert_array_equal(found, expected)


def test_transparency_is_left_out() -> None:
    clear = COLOUR.convert("RGBA")
    clear.putalpha(0)
    np.testing.assert_array_equal(Shape(3).pixels(encoded(clear)), COLOURS)
    palette = COLOUR.convert("P")
    bytewise = encoded(palette, transparency=bytes(range(256)))
    np.testing.assert_array_equal(Shape(3).pixels(bytewise), np.asarray(palette.convert("RGB")))


def test_of_16_bits_the_upper_eight_count() -> None:
    deep = Image.fromarray(np.array([[0, 255, 256, 65_535]], np.uint16))
    assert Shape(1).pixels(encoded(deep)).ravel().tolist() == [0, 0, 1, 255]
    assert Shape(3).pixels(encoded(deep, "TIFF"))[0, 3].tolist() == [255, 255, 255]


def test_floating_point_samples_are_refused() -> None:
    with pytest.raises(BadImage, match="floating-point"):
        Shape(1).pixels(encoded(GREY.convert("F"), "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_exif_says(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = Shape(3).pixels(encoded(COLOUR, exif=exif))
    expected = {
        1: COLOURS,
        2: COLOURS[:, ::-1],
        3: COLOURS[::-1, ::-1],
        4: COLOURS[::-1],
        5: COLOURS.transpose(1, 0, 2),
        6: COLOURS.transpose(1, 0, 2)[:, ::-1],
        7: COLOURS[::-1, ::-1].transpose(1, 0, 2),
        8: COLOURS.transpose(1, 0, 2)[::-1],
    }
    np.testing.assert_array_equal(found, expected[orientation])


def test_the_first_frame_counts() -> None:
    data = encoded(GREY, "GIF", save_all=True, append_images=[Image.new("L", (9, 6), 7)])
    np.testing.assert_array_equal(Shape(1).pixels(data)[:, :, 0], np.asarray(GREY))


def test_an_image_is_scaled_bilinearly_and_its_middle_is_cut_out() -> None:
    small = np.asarray(COLOUR.resize((4, 5), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(Shape(3, (5, 4)).pixels(encoded(COLOUR)), small)
    np.testing.assert_array_equal(Shape(3, (5, 4), (2, 3)).pixels(encoded(COLOUR)), small[1:3, 0:3])
    np.testing.assert_array_equal(Shape(3, None, (6, 2)).pixels(encoded(COLOUR)), COLOURS[:, 3:5])


def test_less_than_what_is_cut_out_is_refused() -> None:
    with pytest.raises(BadImage, match="it has 6 × 9 pixels, and 7 × 9 are to be cut out"):
        Shape(3, None, (7, 9)).pixels(encoded(COLOUR))


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in (pixels.MAX_PIXELS, 50):
        monkeypatch.setattr(pixels, "MAX_PIXELS", bound)
        size = (200_000, 200) if bound > 50 else (51, 1)
        data = encoded(Image.new("1", size))
        with pytest.raises(BadImage, match="more than"):
            Shape(1).pixels(data)
    # A header alone, which claims more than what Pillow itself refuses.
    header = bytearray(encoded(GREY))
    header[16:24] = (2**30).to_bytes(4, "big") * 2
    with pytest.raises(BadImage):
        Shape(1).pixels(bytes(header))


def test_what_is_no_image_is_refused_with_the_same_words_each_time() -> None:
    told = set()
    for _ in range(3):
        with pytest.raises(BadImage) as caught:
            Shape(3).pixels(b"GIF is not what this is")
        told.add(str(caught.value))
    assert told == {"it is no image of PNG, JPEG, GIF, BMP, WEBP, TIFF, PPM"}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([(form, mode) for form, modes in MODES.items() for mode in modes]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    st.floats(0.1, 1),
)
def test_a_broken_file_is_decoded_or_refused(
    kind: tuple[str, str], changes: list[tuple[float, int]], kept: float
) -> None:
    data = bytearray(encoded(COLOUR.convert(kind[1]), kind[0]))
    for place, value in changes:
        data[int(place * len(data))] = value
    with suppress(BadImage):
        assert Shape(3, (4, 4)).pixels(bytes(data[: int(kept * len(data))])).shape == (4, 4, 3)
