"""Predictions on raw features with a trained model, from the path of its model.safetensors.

    from sapflow import predict
    model = predict.load("model.safetensors")
    labels = model.predict(features)

The file's metadata says how to build the model and scale features, so nothing else is needed. A file may name built-in
models only; for a model of your own say `load(path, entrypoint="package.module:factory")`, with the name that is in the
file.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sapflow.client import consent, raw_source
from sapflow.data.features import of_table
from sapflow.errors import CorruptObject, DataError
from sapflow.objects import safetensor
from sapflow.serving.description import Description, described

if TYPE_CHECKING:
    from sapflow.client.raw_rows import Prepared
    from sapflow.preparation.fitted import FittedPreparation


class Predictor:
    """A trained model, in evaluation mode."""

    def __init__(self, description: Description, network: Any, preparation: bytes | None = None) -> None:
        """`network` is the torch module with its weights, `preparation` the object that the description names, if it
        was found. Raises CorruptObject where the task is unknown."""
        self.description, self._preparation = description, preparation
        self.task = description.task_of()
        self.network = network

    def predict(self, features: object) -> np.ndarray:
        """Class numbers int64 [n], or the words for them if the data had words; of several labels 0 or 1 each, int64
        [n, labels]; or values float32 [n, k].

        `features` have the values of the data source, [n, *inputs] or [n, values]. Of a pandas DataFrame or an Arrow
        table the columns are taken by name.

        A model of prepared data takes raw rows: a DataFrame or an Arrow table with the columns of its source, or the
        path of a file or a folder, as of images. An array has features, as `prepared` makes them. Raises DataError,
        also if a raw row gives no sample.
        """
        return self.task.named(self.task.predictions(self.outputs(self.scaled(features))))

    def prepared(self, raw: Any, options: Mapping[str, object] | None = None) -> "Prepared":
        """The samples of raw rows, by the preparation that the model was trained with: `predict` takes their features.

        `raw` is a pandas DataFrame, an Arrow table, or the path of a file, a folder or a glob, or s3://bucket/prefix.
        `options` are those of the files' format that differ from training's. Raises DataError, StoreError.
        """
        from sapflow.client import raw_rows  # most models take samples as they are

        fitted = self.preparation()
        if isinstance(raw, raw_source.RawSource):
            source = raw
        elif raw_source.is_table(raw):
            source = raw_source.of_table(raw, [each.name for each in fitted.plan.columns])
        else:
            source = raw_source.of_path(raw, fitted.plan.format)
        return raw_rows.prepared(fitted, source, options)

    def preparation(self) -> "FittedPreparation":
        """What raw rows are made samples by. Raises DataError if there is none, or it is not beside the model."""
        from sapflow.preparation.fitted_file import of_file

        named = self.description.preparation
        if named is None:
            raise DataError("the model was trained on samples as they were, with no preparation of raw data")
        if self._preparation is None:
            raise DataError(
                "the model was trained on prepared data, and preparation.safetensors is not beside it: copy it there "
                "from the job's result"
            )
        return of_file(self._preparation, named, "the preparation beside the model")

    def probabilities(self, features: object) -> np.ndarray:
        """The probability of each class or label, float64 [n, classes]. Raises DataError, also for regression."""
        return self.task.probabilities(self.outputs(self.scaled(features)))

    def scaled(self, features: object) -> np.ndarray:
        """The scaled features float32 [n, *inputs], as in training. Raises DataError if they are no numbers or have the
        wrong shape."""
        about = self.description
        if about.preparation is not None and raw_source.is_raw(features):
            features = self.prepared(features).of_all_rows()
        table = of_table(features, about.columns)
        array = np.asarray(features) if table is None else table
        if array.dtype.kind not in "buif":
            raise DataError(f"features are {array.dtype}; they must be numbers")
        if array.shape == about.inputs:
            array = array[None]
        if array.ndim == 2 and array.shape[1] == about.width:
            array = array.reshape(len(array), *about.inputs)
        if array.shape[1:] != about.inputs or not len(array):
            wanted = " or ".join(sorted({f"[n, {_dims(about.inputs)}]", f"[n, {about.width}]"}, reverse=True))
            target = array.ndim == 2 and array.shape[1] == about.width + 1
            remedy = ": leave out the column of the target" if target else ""
            raise DataError(
                f"features have shape {list(array.shape)}; the model takes {wanted}, n at least 1{remedy}"
            )
        flat = about.single(array.reshape(len(array), -1))
        if not np.isfinite(flat).all():
            row = int(np.argmin(np.isfinite(flat).all(axis=1)))
            raise DataError(f"features of row {row} (the first is 0) are not finite float32 numbers")
        return about.scaled(flat)

    def outputs(self, scaled: np.ndarray) -> np.ndarray:
        """The network's own outputs float32 [n, outputs] for scaled features [n, *inputs].

        Raises DataError if they are not finite.
        """
        from sapflow.models import inference

        outputs = inference.forward(self.network, scaled)
        if not np.isfinite(outputs).all():
            raise DataError("the model gives outputs that are not finite numbers: its training diverged")
        return outputs


def load(path: str | Path, *, entrypoint: str | Iterable[str] | None = None) -> Predictor:
    """The model in the file of a job's result. Loads torch.

    `entrypoint` is the consent to import and call a model of one's own: the `package.module:factory` that the file
    names, which must be importable. Without it a file may name built-in models only.

    Raises DataError if the file does not exist, is not a complete model file of Sapflow, or names code without consent;
    SpecError if the model cannot be built.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    from sapflow.client import raw_rows  # loads what preparations are made of

    found = raw_rows.beside(Path(path))
    preparation = found.read_bytes() if found.is_file() else None
    return decode(memoryview(content), str(path), consent.given_as(entrypoint), preparation)


def decode(
    content: memoryview, name: str, entrypoints: Iterable[str] = (), preparation: bytes | None = None
) -> Predictor:
    """The model in the bytes of such a file; `name` is for messages, `entrypoints` the code that may be imported, and
    `preparation` the object beside the file, if there is one.

    Raises what `load` raises.
    """
    from sapflow.serving.network import module  # for models alone, not for their descriptions

    try:
        tensors, metadata = safetensor.decode(content, name)
        about = described(metadata, name)
        consent.check(about.model, entrypoints, name)
        return Predictor(about, module(about, tensors), preparation)
    except CorruptObject as error:
        raise DataError(f"{name} is no model file of Sapflow's, or is damaged: {error}") from error


def _dims(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
