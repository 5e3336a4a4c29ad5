"""The network under FastAPI and nothing else: `python bare_fastapi.py WEIGHTS PORT`."""

import sys

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

weights = np.load(sys.argv[1])
layers = [(weights[f"w{place}"].T, weights[f"b{place}"]) for place in range(len(weights.files) // 2)]
app = FastAPI()


class Rows(BaseModel):
    rows: list[list[float]]


@app.post("/predict")
def predict(given: Rows) -> dict[str, list[dict[str, float]]]:
    values = np.array(given.rows, np.float32)
    for place, (weight, bias) in enumerate(layers):
        values = values @ weight + bias
        if place < len(layers) - 1:
            values = np.maximum(values, 0)
    chances = np.exp(values - values.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    best = chances.argmax(axis=1)
    return {
        "decisions": [
            {"label": int(label), "probability": float(row[label])}
            for row, label in zip(chances, best, strict=True)
        ]
    }


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
