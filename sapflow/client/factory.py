"""Makes an entrypoint that functions can import from a model's factory, a function of a Python program.

A factory in a module is imported from there. One in a script or a notebook's cells cannot be imported, because that
would run the script again in every function. So its source is copied into a new module, together with everything that
it uses: imports, other functions and classes, plain constants. The module's name is a digest of its text, so another
source makes another job.
"""

import ast
import dis
import functools
import hashlib
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import CodeType, FunctionType, ModuleType
from typing import Any

from sapflow.errors import SpecError

FIELD = "spec.model.entrypoint"
MODULE = "sapflow_model_"
_DIGITS = 12
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_FUTURE_ANNOTATIONS = 0x1000000
"""The flag of code that was compiled under `from __future__ import annotations`."""


@dataclass(frozen=True, slots=True)
class Factory:
    """An entrypoint with its arguments, and the module to be written for it, if it needs one."""

    entrypoint: str
    args: Mapping[str, Any]
    source: str | None = None

    @property
    def module(self) -> str:
        return self.entrypoint.partition(":")[0]

    def write(self, folder: Path) -> None:
        """Write the module into a folder, unless it is there."""
        if self.source is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink():
            raise _wrong(
                f"would be written to {folder}, a symbolic link: remove the link, or use another store"
            )
        path = folder / f"{self.module}.py"
        if not path.exists():
            with NamedTemporaryFile("w", encoding="utf-8", dir=folder, suffix=".tmp", delete=False) as file:
                file.write(self.source)
            Path(file.name).replace(path)


def of(given: Callable[..., object]) -> Factory:
    """The factory for a callable: a function or class at the top level of a module, or in a script or notebook.

    `functools.partial` gives it arguments. Raises SpecError if functions could not import it, and says what to do.
    """
    args: dict[str, Any] = {}
    while isinstance(given, functools.partial):
        if given.args:
            raise _wrong("gives arguments by position; in functools.partial give them by name")
        args = {**given.keywords, **args}
        given = given.func
    name, module = getattr(given, "__qualname__", ""), getattr(given, "__module__", "")
    if not isinstance(given, FunctionType | type) or not name or not module:
        raise _wrong(f"is a {type(given).__name__}; a model's factory must be a function or a class")
    if name == "<lambda>":
        raise _wrong("is a lambda, which has no name to be imported by; write it as a function (def)")
    if "<locals>" in name:
        raise _wrong(
            f"{name} is defined inside a function, where nothing can import it from; move it to the top level of its "
            "module, and give what it took from around it as arguments: functools.partial(build, width=64)"
        )
    if "." in name:
        raise _wrong(f"{name} is inside a class; write a function of the module's top level that calls it")
    if module == "__main__":
        source = Extract(given).text
        digest = hashlib.sha256(source.encode()).hexdigest()[:_DIGITS]
        return Factory(f"{MODULE}{digest}:{name}", args, source)
    if getattr(sys.modules.get(module), name, None) is not given:
        raise _wrong(f"{module}.{name} is another object than the one given; give the module's own")
    return Factory(f"{module}:{name}", args)


def _wrong(problem: str) -> SpecError:
    return SpecError([(FIELD, problem)])


class Extract:
    """The text of a module with a definition from a script or notebook, and everything that it uses."""

    def __init__(self, given: FunctionType | type) -> None:
        self._imports: dict[str, str] = {}
        self._parts: dict[str, str] = {}
        """By name, in the order in which they must stand: what a definition needs while it is made comes before it."""
        self._globals = vars(sys.modules[given.__module__])
        self._postponed = False
        self._take(given.__name__, given)
        future = ["from __future__ import annotations"] if self._postponed else []
        imports = sorted(self._imports.values())
        head = '"""A model of a script or a notebook, written by Sapflow with what it uses."""'
        self.text = "\n".join([head, *future, *imports, "", *self._parts.values()])

    def _take(self, name: str, value: object) -> None:
        """Have what a global name means in the module."""
        if name in self._imports or name in self._parts:
            return
        if isinstance(value, ModuleType):
            self._imports[name] = f"import {value.__name__} as {name}"
        elif isinstance(value, FunctionType | type) and value.__module__ == "__main__":
            self._define(name, value)
        elif _importable(value):
            self._imports[name] = f"from {value.__module__} import {value.__qualname__} as {name}"  # type: ignore[attr-defined]
        elif _is_plain(value):
            self._parts[name] = f"{name} = {value!r}\n"
        else:
            raise _wrong(
                f"uses the global {name}, a {type(value).__name__}, which cannot be copied from a script or notebook; "
                "make it inside the factory, pass it as an argument, or put all of it into a module"
            )

    def _define(self, name: str, value: FunctionType | type) -> None:
        if value.__qualname__ != name:
            raise _wrong(
                f"uses {name}, which is {value.__qualname__} by another name; use it by its own name, at the top level"
            )
        functions = list(_functions_of(value))
        if isinstance(value, FunctionType) and value.__closure__:
            raise _wrong(f"{name} uses variables of a function around it; pass them as arguments")
        self._postponed |= any(each.__code__.co_flags & _FUTURE_ANNOTATIONS for each in functions)
        source = _source_of(name, value, functions)
        self._parts[name] = ""  # a definition that refers to itself needs nothing more
        for used in _globals_of(compile(source, "<factory>", "exec", dont_inherit=True)):
            if used != name and used in self._globals and not used.startswith("__"):
                self._take(used, self._globals[used])
        del self._parts[name]
        self._parts[name] = f"\n{source}\n"


def _importable(value: object) -> bool:
    """Whether the same object can be imported by its module and name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__" or "." in name:
        return False
    return getattr(sys.modules.get(module), name, None) is value


def _is_plain(value: object) -> bool:
    """Whether the value can be written as its repr."""
    if isinstance(value, tuple | list | set | frozenset):
        return type(value) in (tuple, list, set, frozenset) and all(map(_is_plain, value))
    if type(value) is dict:
        return all(_is_plain(key) and _is_plain(each) for key, each in value.items())
    return type(value) in _PLAIN and value == value  # not NaN, whose repr is a name


def _globals_of(code: CodeType) -> Iterator[str]:
    """The global names that code reads, including nested functions and classes."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(step.argval)
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _globals_of(each)


def _functions_of(value: FunctionType | type) -> Iterator[FunctionType]:
    """The function itself, or the functions that are defined in a class."""
    if isinstance(value, FunctionType):
        yield value
        return
    for each in vars(value).values():
        found = getattr(each, "__func__", getattr(each, "fget", each))
        if isinstance(found, FunctionType) and found.__qualname__.startswith(f"{value.__qualname__}."):
            yield found


def _source_of(name: str, value: FunctionType | type, functions: list[FunctionType]) -> str:
    """The text of a definition with its decorators. Raises SpecError if it is not known."""
    if functions:
        line = functions[0].__code__.co_firstlineno
        places = [functions[0].__code__.co_filename]
    else:
        # A class without functions does not tell where it stands: in the newest cell that has it, or in the script.
        line = getattr(value, "__firstlineno__", 0)
        cells = [place for place, entry in linecache.cache.items() if len(entry) == 4 and entry[1] is None]
        places = [*reversed(cells), str(getattr(sys.modules["__main__"], "__file__", ""))]
    for place in places:
        found = _definition("".join(linecache.getlines(place)), name, line)
        if found is not None:
            return found
    raise _wrong(
        f"the source of {name} cannot be found; write it into a module, a script or a notebook's cell"
    )


def _definition(text: str, name: str, line: int) -> str | None:
    """The definition of `name` at a line of a text, or the last one if the line is 0."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return None
    for node in reversed(body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name and node.end_lineno:
            first = _first_line(node)
            if not line or first <= line <= node.end_lineno:
                return "".join(text.splitlines(keepends=True)[first - 1 : node.end_lineno])
    return None


def _first_line(node: ast.FunctionDef | ast.ClassDef) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])
