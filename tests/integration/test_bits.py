"""Short jobs end with the weights that they had before: those of tests/bits/table.json, or of its commit's code.

A row of the table holds on machines of its key. On any other, the code of the commit that recorded the table trains
the same job here, beside today's, and the summary of the tests says so; `tools/bits --record` makes a row of it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.bits import JOBS, ROOT, SECONDS, Code, CommitMissing, Key, Table, code_of, digest, machine_key
from safetensors.numpy import save_file

TABLE = Table.load()
Note = Callable[[str, object], None]


class Before:
    """What the weights of jobs were before."""

    def __init__(self, key: Key, stack: ExitStack) -> None:
        self._key, self._recorded = key, TABLE.row(key)
        self._code = cache(lambda: stack.enter_context(code_of(TABLE.commit)))

    def sha256(self, name: str, folder: Path, note: Note) -> str:
        """From this machine's row, else from the recorded commit's code; skips where neither is to be had."""
        if name in self._recorded:
            return self._recorded[name]
        try:
            code = self._code()
        except CommitMissing as error:
            pytest.skip(f"no row has {name} for {self._key}, and {TABLE.commit} is not here: {error}")
        note(
            "bits", f"{TABLE.commit[:12]} trained them beside today's code: no row of theirs for {self._key}"
        )
        return code.run(name, folder).sha256


@pytest.fixture(scope="module")
def before() -> Iterator[Before]:
    with ExitStack() as stack:
        yield Before(machine_key(), stack)


@pytest.fixture(scope="module")
def today() -> Code:
    return Code(ROOT)


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("name", JOBS)
def test_a_job_ends_with_the_weights_that_it_had_before(
    name: str, today: Code, before: Before, tmp_path: Path, record_property: Note
) -> None:
    expected = before.sha256(name, tmp_path / "before", record_property)
    found = today.run(name, tmp_path / "today")
    assert found.sha256 == expected, f"other weights than at {TABLE.commit[:12]}; see tools/bits"
    spec = yaml.safe_load(JOBS[name].read_text())["spec"]
    if "limits" in spec:
        assert found.calls > most_calls_without_cursors(spec), "the time limit forced no cursor"


def most_calls_without_cursors(spec: dict[str, Any]) -> int:
    """Calls of a job without evaluations: one of each worker, and one for each child of each merger at most."""
    children = spec["merge"]["shards"] * sum(spec["merge"]["structure"][1:])
    initialize = 1
    return int(initialize + spec["algorithm"]["steps"] * (spec["workers"] + children))


def test_a_digest_depends_on_names_types_shapes_and_bytes_and_not_on_metadata(tmp_path: Path) -> None:
    def of(metadata: dict[str, str], **tensors: np.ndarray) -> str:
        path = tmp_path / "model.safetensors"
        save_file(tensors, path, metadata)
        return digest(path)

    one = np.arange(4, dtype=np.float32)
    same = of({"format": "pt"}, a=one, b=one)
    assert of({"of": "later"}, b=one, a=one) == same
    others = [
        of({}, a=one, c=one),
        of({}, a=one, b=one.view(np.int32)),
        of({}, a=one, b=one.reshape(2, 2)),
        of({}, a=one, b=-one),
    ]
    assert len({same, *others}) == 5
