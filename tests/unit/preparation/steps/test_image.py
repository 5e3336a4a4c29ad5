"""Images to pixels, row by row."""

import io

import numpy as np
import pytest
from helpers.fits import assert_rows_alone_are_the_same, fitted, through_record
from PIL import Image

from sapflow.preparation.batch import Batch, Blobs
from sapflow.preparation.pixels import Shape
from sapflow.preparation.step import ColumnType, Fitted, StepProblem
from sapflow.preparation.steps.image import ImageFit, Images, ImageStep
from sapflow.spec.preparation.image_step import ImageSpec

SCHEMA = {"image": ColumnType("Image"), "label": ColumnType("Text")}


def file(height: int, width: int, seed: int = 0) -> bytes:
    written = io.BytesIO()
    colours = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(colours).save(written, "PNG")
    return written.getvalue()


def batch_of(*files: bytes | None, first: int = 0) -> Batch:
    return Batch({"image": Blobs(files)}, np.arange(len(files)) + first)


def test_files_that_cannot_be_taken_are_bad_rows_with_the_reason() -> None:
    step = ImageStep(ImageSpec(column="image", resize=[4, 5], channels=1)).begin(SCHEMA)
    assert isinstance(step, Images)
    batch = batch_of(file(8, 8), b"text", None, file(3, 9), b"more")
    result = through_record(step).apply(batch)
    assert np.asarray(result.batch.columns["image"]).shape == (2, 4, 5, 1)
    assert result.batch.numbers.tolist() == [0, 3]
    assert [(list(each.numbers), each.reason, list(each.values)) for each in result.bad] == [
        ([1, 4], "it is no image of PNG, JPEG, GIF, BMP, WEBP, TIFF, PPM", ["4 bytes", "4 bytes"]),
        ([2], "there is no image", [""]),
    ]
    assert_rows_alone_are_the_same(step, batch)
    assert step.schema(SCHEMA)["image"] == ColumnType("Image", shape=(4, 5, 1))


def test_without_a_size_it_is_learnt_and_another_one_is_bad() -> None:
    step = ImageStep(ImageSpec(column="image")).begin(SCHEMA)
    assert isinstance(step, ImageFit)
    found = fitted(step, [[batch_of(b"broken", None)], [batch_of(file(4, 6)), batch_of(file(4, 6, 1))]])
    assert found.schema(SCHEMA)["image"].shape == (4, 6, 3)
    result = found.apply(batch_of(file(4, 6), file(6, 4)))
    assert result.bad[0].reason == "it has 6 × 4 pixels, and those of training 4 × 6: give resize or crop"


def test_images_of_several_sizes_need_resize_or_crop() -> None:
    step = ImageFit("image", Shape(3))
    with pytest.raises(
        StepProblem, match=r"several sizes, 4 × 6 and 5 × 6 pixels for two: give resize or crop"
    ):
        fitted(step, [[batch_of(file(9, 6))], [batch_of(file(5, 6)), batch_of(file(4, 6))]])
    for records in ([], [[batch_of(b"broken")]]):
        with pytest.raises(StepProblem, match="no image in column image that can be decoded"):
            fitted(step, records)


def begun(decoded: tuple[int, int, int], **fields: object) -> Fitted:
    spec = ImageSpec.model_validate({"column": "image", **fields})
    step = ImageStep(spec).begin({"image": ColumnType("Image", shape=decoded)})
    assert isinstance(step, Fitted)
    return step


def test_decoded_images_pass_as_they_are() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 4, 4, 1), np.uint8)
    batch = Batch({"image": pixels}, np.arange(3))
    same = begun((4, 4, 1), channels=1)
    assert same.apply(batch).batch.columns["image"] is pixels
    assert same.schema(SCHEMA)["image"].shape == (4, 4, 1)
    colour = np.asarray(begun((4, 4, 1), crop=[2, 2]).apply(batch).batch.columns["image"])
    np.testing.assert_array_equal(colour, np.repeat(pixels[:, 1:3, 1:3], 3, axis=3))
    assert_rows_alone_are_the_same(begun((4, 4, 1), resize=[3, 5]), batch)


def test_decoded_images_must_be_bytes_to_be_changed() -> None:
    batch = Batch({"image": np.zeros((1, 4, 4, 1), np.float32)}, np.arange(1))
    assert "float32" in begun((4, 4, 1)).apply(batch).bad[0].reason
    assert begun((4, 4, 1), channels=1).apply(batch).batch.columns["image"] is batch.columns["image"]


def test_no_more_is_cut_out_of_decoded_images_than_there_is() -> None:
    with pytest.raises(StepProblem, match="5 × 2 pixels cannot be cut out of images of 4 × 4"):
        begun((4, 4, 1), crop=[5, 2])
