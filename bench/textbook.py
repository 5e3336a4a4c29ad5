"""The merge handler of the textbooks: GET a child whole, np.load it, add; np.save the sum, PUT it.

python -m bench.textbook RANK COUNT: each job is {"children": [key …], "output": key}.
"""

from io import BytesIO

import numpy as np

from bench.minio_client import Client
from bench.peers import answer, jobs


def encode(vector: np.ndarray) -> bytes:
    """The vector as np.save writes it."""
    buffer = BytesIO()
    np.save(buffer, vector)
    return buffer.getvalue()


def main() -> None:
    client = Client()
    for job in jobs():
        total: np.ndarray | None = None
        for child in job["children"]:
            vector = np.load(BytesIO(client.get(child)))
            total = vector if total is None else total + vector
        assert total is not None
        client.put(job["output"], encode(total))
        answer("done")


if __name__ == "__main__":
    main()
