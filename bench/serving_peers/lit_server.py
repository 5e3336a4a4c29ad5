"""The network under LitServe, batched as its documentation has it: `python lit_server.py WEIGHTS PORT`."""

import sys
from typing import Any

import litserve
import numpy as np


class Api(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        weights = np.load(sys.argv[1])
        self.layers = [
            (weights[f"w{place}"].T, weights[f"b{place}"]) for place in range(len(weights.files) // 2)
        ]

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        return np.array(request["rows"][0], np.float32)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, values: np.ndarray) -> np.ndarray:
        values = values if values.ndim == 2 else values[None]
        for place, (weight, bias) in enumerate(self.layers):
            values = values @ weight + bias
            if place < len(self.layers) - 1:
                values = np.maximum(values, 0)
        chances = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(chances / chances.sum(axis=1, keepdims=True))

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        row = output.reshape(-1)
        label = int(row.argmax())
        return {"decisions": [{"label": label, "probability": float(row[label])}]}


if __name__ == "__main__":
    api = Api(max_batch_size=64, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False)
