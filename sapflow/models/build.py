"""Builds the torch module that the spec's `model` names: a built-in one, or that of the user's factory."""

import inspect
from collections.abc import Callable, Mapping
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
) -> nn.Module:
    """A float32 network for samples of shape `inputs`, in training mode, initialised from `seed` alone.

    A name with a colon is `package.module:factory`. The factory is called with `args`, and with `inputs` and
    `outputs` if its signature has them. The state of torch's global generator is restored; a factory that uses
    other generators must seed them itself.
    Raises SpecError: unknown name or argument, no such module or factory, not a float32 nn.Module.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if ":" in name_or_entrypoint:
            model = _checked(_call(name_or_entrypoint, args, inputs, outputs), name_or_entrypoint)
        else:
            model = _built_in(name_or_entrypoint, args, inputs, outputs)
    return model.train()


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


def _checked(model: object, entrypoint: str) -> nn.Module:
    field = "spec.model.entrypoint"
    if not isinstance(model, nn.Module):
        raise SpecError([(field, f"{entrypoint} returned a {type(model).__name__}, not a torch.nn.Module")])
    lazy = [name for name, each in model.named_parameters() if isinstance(each, nn.UninitializedParameter)]
    if lazy:
        raise SpecError([(field, f"{entrypoint} has lazy parameters ({lazy[0]}): give layers their sizes")])
    tensors = [
        *model.named_parameters(),
        *((name, each) for name, each in model.named_buffers() if each.is_floating_point()),
    ]
    wrong = [f"{name} ({each.dtype})" for name, each in tensors if each.dtype != torch.float32]
    if wrong:
        raise SpecError([(field, f"{entrypoint} has tensors other than float32: {', '.join(wrong[:5])}")])
    if not any(each.requires_grad for each in model.parameters()):
        raise SpecError([(field, f"{entrypoint} returned a model without a parameter to train")])
    return model
