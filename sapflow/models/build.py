"""Builds the torch module that the spec's `model` names: a built-in one, or that of the user's factory."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from sapflow.errors import SpecError
from sapflow.models.builtin import (
    Arguments,
    CnnArguments,
    LenetArguments,
    MlpArguments,
    cnn,
    lenet,
    mlp,
)
from sapflow.spec.entrypoint import load

_BUILDERS: dict[str, tuple[type[Arguments], Callable[[Any, tuple[int, ...], int], nn.Module]]] = {
    "cnn": (CnnArguments, cnn),
    "lenet": (LenetArguments, lenet),
    "mlp": (MlpArguments, mlp),
}

BUILT_IN: tuple[str, ...] = tuple(_BUILDERS)


def build(
    name_or_entrypoint: str,
    args: Mapping[str, Any],
    *,
    inputs: tuple[int, ...],
    outputs: int,
    seed: int,
    env: Mapping[str, str] | None = None,
) -> nn.Module:
    """A float32 network for samples of shape `inputs`, in training mode, initialised from `seed` alone.

    A name with a colon is `package.module:factory`. The factory is called with `args`, and with `inputs` and
    `outputs` if its signature has them, while the environment variables `env` are set. The state of torch's global
    generator is restored; a factory that uses other generators must seed them itself.
    Raises SpecError: unknown name or argument, no such module or factory, not a float32 nn.Module.
    """
    with torch.random.fork_rng(devices=[]), _environment(env or {}):
        torch.default_generator.manual_seed(seed)
        if ":" in name_or_entrypoint:
            model = _checked(_call(name_or_entrypoint, args, inputs, outputs), name_or_entrypoint)
        else:
            model = _built_in(name_or_entrypoint, args, inputs, outputs)
    return model.train()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _built_in(name: str, args: Mapping[str, Any], inputs: tuple[int, ...], outputs: int) -> nn.Module:
    if name not in _BUILDERS:
        raise SpecError(
            [
                (
                    "spec.model.name",
                    f"unknown model {name!r}: built in are {', '.join(BUILT_IN)}; "
                    "for your own give entrypoint: package.module:factory",
                )
            ]
        )
    arguments, builder = _BUILDERS[name]
    try:
        parsed = arguments.model_validate(dict(args))
    except ValidationError as error:
        raise SpecError(_problems(error, arguments)) from error
    try:
        return builder(parsed, inputs, outputs)
    except ValueError as error:
        raise SpecError([("spec.model", f"{name} {error}")]) from error


def _problems(error: ValidationError, arguments: type[Arguments]) -> list[tuple[str, str]]:
    allowed = ", ".join(field.alias or name for name, field in arguments.model_fields.items())
    problems = []
    for each in error.errors():
        path = ".".join(str(part) for part in ("spec.model.args", *each["loc"]))
        if each["type"] == "extra_forbidden":
            problems.append((path, f"unknown argument; allowed are {allowed}"))
        else:
            problems.append((path, f"{each['msg']}, not {each['input']!r}"))
    return problems


def _call(entrypoint: str, args: Mapping[str, Any], inputs: tuple[int, ...], outputs: int) -> object:
    factory = load(entrypoint, "spec.model.entrypoint")
    arguments = dict(args)
    try:
        signature = inspect.signature(factory)
    except ValueError:
        # Some callables written in C have no signature.
        return factory(**arguments)
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in signature.parameters.values())
    for name, value in (("inputs", inputs), ("outputs", outputs)):
        if takes_any or name in signature.parameters:
            arguments.setdefault(name, value)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        given = ", ".join(arguments) or "nothing"
        raise SpecError(
            [("spec.model.args", f"{entrypoint}{signature} was given {given}: {error}")]
        ) from error
    return factory(**arguments)


_CARRIED = {
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "complex64",
    "bool",
} | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
"""Types of buffers: those of safetensors."""
MAX_RAW = 8 << 20
"""Bytes of all buffers that are not float32: each contribution may carry them in its header."""


def _check_state(model: nn.Module, entrypoint: str, field: str) -> None:
    """Raises SpecError for buffers, and other state of modules, that a version cannot carry."""
    parameters = {id(each) for each in model.parameters()}
    raw: dict[int, int] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, torch.Tensor):
            what = f"has the extra state {name} ({type(value).__name__}), which is no tensor"
            raise SpecError([(field, f"{entrypoint} {what}: keep it in tensors, registered as buffers")])
        if id(value) in parameters:
            continue
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype not in _CARRIED or value.layout != torch.strided or value.is_quantized:
            what = f"buffer {name} is {dtype}" if dtype not in _CARRIED else f"buffer {name} is not dense"
            remedy = "take another type, or register it with persistent=False and compute it in __init__"
            raise SpecError([(field, f"{entrypoint}: {what}, which model files cannot hold: {remedy}")])
        if dtype != "float32":
            raw[id(value)] = value.numel() * value.element_size()
    if sum(raw.values()) > MAX_RAW:
        raise SpecError(
            [
                (
                    field,
                    f"{entrypoint} has {sum(raw.values()):,} bytes of buffers that are not float32; at most "
                    f"{MAX_RAW:,} are carried: register constants with persistent=False, or take float32",
                )
            ]
        )


def _checked(model: object, entrypoint: str) -> nn.Module:
    field = "spec.model.entrypoint"
    if not isinstance(model, nn.Module):
        raise SpecError([(field, f"{entrypoint} returned a {type(model).__name__}, not a torch.nn.Module")])
    lazy = [name for name, each in model.named_parameters() if isinstance(each, nn.UninitializedParameter)]
    if lazy:
        raise SpecError([(field, f"{entrypoint} has lazy parameters ({lazy[0]}): give layers their sizes")])
    wrong = [
        f"{name} ({each.dtype})" for name, each in model.named_parameters() if each.dtype != torch.float32
    ]
    if wrong:
        raise SpecError([(field, f"{entrypoint} has parameters other than float32: {', '.join(wrong[:5])}")])
    _check_state(model, entrypoint, field)
    if not any(each.requires_grad for each in model.parameters()):
        raise SpecError([(field, f"{entrypoint} returned a model without a parameter to train")])
    return model
