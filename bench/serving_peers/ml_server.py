"""The network under MLServer: a model of its custom runtime, which `mlserver start` finds by model-settings.json."""

import os

import mlserver
import numpy as np
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Model(mlserver.MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        weights = np.load(os.environ["BENCH_WEIGHTS"])
        self.layers = [
            (weights[f"w{place}"].T, weights[f"b{place}"]) for place in range(len(weights.files) // 2)
        ]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        values = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        for place, (weight, bias) in enumerate(self.layers):
            values = values @ weight + bias
            if place < len(self.layers) - 1:
                values = np.maximum(values, 0)
        chances = np.exp(values - values.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        label = chances.argmax(axis=1)
        outputs = [
            NumpyCodec.encode_output("label", label.astype(np.int64)),
            NumpyCodec.encode_output("probability", chances[np.arange(len(label)), label].astype(np.float64)),
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
