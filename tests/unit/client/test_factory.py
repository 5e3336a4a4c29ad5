"""A model's factory in a script or notebook: what is copied of it, and what cannot be."""

import functools
import linecache
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.models import Brittle, brittle
from torch import nn

from sapflow import SpecError
from sapflow.client import factory


class Notebook:
    """Cells as a notebook's kernel runs them: in `__main__`, their text known to linecache."""

    def __init__(self, main: types.ModuleType) -> None:
        self._main, self._cells = main, 0

    def __call__(self, cell: str) -> Any:
        """Run a cell; the namespace."""
        self._cells += 1
        name = f"<cell {self._cells}>"
        linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
        exec(compile(cell, name, "exec"), vars(self._main))
        return types.SimpleNamespace(**vars(self._main))


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    yield Notebook(main)
    for name in [each for each in linecache.cache if each.startswith("<cell ")]:
        del linecache.cache[name]


def built(found: factory.Factory, folder: Path) -> nn.Module:
    """What a fresh interpreter's import of the module gives, built here."""
    found.write(folder)
    module, _, name = found.entrypoint.partition(":")
    subprocess.run([sys.executable, "-c", f"import {module}"], cwd=folder, check=True)
    scope: dict[str, Any] = {"__name__": module}
    exec(compile((folder / f"{module}.py").read_text(), module, "exec"), scope)
    model = scope[name](**found.args)
    assert isinstance(model, nn.Module)
    return model


def refused(given: Any) -> str:
    with pytest.raises(SpecError) as caught:
        factory.of(given)
    ((field, message),) = caught.value.problems
    assert field == "spec.model.entrypoint"
    return message


def test_all_that_a_factory_uses_goes_with_it(notebook: Notebook, tmp_path: Path) -> None:
    notebook(
        "import torch\nfrom torch import nn as layers\nfrom collections import OrderedDict\nWIDTHS = {'hidden': 3}"
    )
    notebook("class Base(layers.Module):\n    pass\n")
    notebook(
        "def scale(x):\n    return x * FACTOR\nFACTOR = 2.0\n"
        "class Block(Base):\n    def __init__(self):\n        super().__init__()\n"
        "        self.inner = layers.Linear(2, WIDTHS['hidden'])\n"
        "    def forward(self, x):\n        return scale(self.inner(x)) * other(torch)\n"
        "def other(t):\n    return 1.0 if t else Block\n"
    )
    cells = notebook(
        "def build(width=WIDTHS['hidden']):\n    return layers.Sequential(OrderedDict(a=Block()))"
    )
    found = factory.of(functools.partial(cells.build, width=1))
    assert found.args == {"width": 1}
    model = built(found, tmp_path)
    assert sorted(model.state_dict()) == ["a.inner.bias", "a.inner.weight"]


def test_another_source_is_another_module_and_the_same_source_the_same(notebook: Notebook) -> None:
    cell = "from torch import nn\ndef build():\n    return nn.Linear(1, {})\n"
    first, again, other = (factory.of(notebook(cell.format(number)).build) for number in (1, 1, 2))
    assert first.entrypoint == again.entrypoint
    assert first.entrypoint != other.entrypoint


def test_what_a_factory_uses_makes_another_module_too(notebook: Notebook) -> None:
    notebook("from torch import nn\nWIDTH = 1\ndef build():\n    return nn.Linear(1, WIDTH)\n")
    first = factory.of(notebook("WIDTH = 1").build)
    assert factory.of(notebook("WIDTH = 2").build).entrypoint != first.entrypoint


def test_a_cell_that_was_run_again_gives_its_newest_text(notebook: Notebook, tmp_path: Path) -> None:
    notebook("from torch import nn")
    notebook("def build():\n    return nn.Linear(1, 1)\n")
    cells = notebook("\n\ndef build():\n    return nn.Linear(1, 7)\n")
    assert built(factory.of(cells.build), tmp_path).out_features == 7


def test_a_class_is_a_factory_and_decorators_belong_to_it(notebook: Notebook, tmp_path: Path) -> None:
    cells = notebook(
        "from torch import nn\n"
        "def named(kind):\n    kind.called = 'named'\n    return kind\n"
        "@named\nclass Net(nn.Linear):\n    def __init__(self):\n        super().__init__(2, 2)\n"
    )
    assert built(factory.of(cells.Net), tmp_path).called == "named"


def test_annotations_that_are_not_evaluated_stay_so(notebook: Notebook, tmp_path: Path) -> None:
    cells = notebook(
        "from __future__ import annotations\nfrom torch import nn\n"
        "def build(of: Unknown | None = None) -> nn.Module:\n    return nn.Linear(1, 1)\n"
    )
    assert isinstance(built(factory.of(cells.build), tmp_path), nn.Linear)


def test_what_stands_in_a_module_is_imported_from_there() -> None:
    assert factory.of(brittle) == factory.Factory("helpers.models:brittle", {})
    assert factory.of(Brittle).entrypoint == "helpers.models:Brittle"
    factory.of(brittle).write(Path("/nowhere"))


def test_a_global_that_is_no_plain_value_is_refused_by_its_name(notebook: Notebook) -> None:
    cells = notebook(
        "from torch import nn\nsize = iter([1])\ndef build():\n    return nn.Linear(1, next(size))\n"
    )
    assert "uses the global size, a list_iterator" in refused(cells.build)


def test_variables_of_a_function_around_it_are_refused() -> None:
    def inner() -> nn.Module:
        return nn.Linear(1, 1)

    assert "is defined inside a function" in refused(inner)


def test_what_has_no_text_is_refused(notebook: Notebook) -> None:
    cells = notebook("build = 1")
    exec("def build():\n    pass\n", vars(sys.modules["__main__"]))
    assert cells.build == 1
    assert "the source of build cannot be found" in refused(vars(sys.modules["__main__"])["build"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (nn.Linear(1, 1), "is a Linear; a model's factory must be a function or a class"),
        (functools.partial(brittle, (3,)), "give them by name"),
        (Brittle.forward, "is inside a class"),
    ],
)
def test_what_is_no_factory_is_told_what_would_be(given: Any, words: str) -> None:
    assert words in refused(given)
