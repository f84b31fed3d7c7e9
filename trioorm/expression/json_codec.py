"""Typed JSON: from attrs classes, dataclasses and pydantic models to JSON and back, by their annotations.

The contract: `json_codec_for` looks at the class once; what it cannot carry is refused then, not with the first value. A field that JSON
lacks gets the class's default; one that the class does not know is left aside, so that an older program reads what a newer one wrote.
pydantic is imported by nobody but the user.

Rejected: cattrs, which does this and far more, as a dependency of every user for one option of one column; whoever has it, or msgspec,
gives it as `JsonCodec`.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import sys
import types
import typing
import uuid
from collections.abc import Callable
from enum import Enum
from typing import Any

import attrs

from trioorm.errors import DataError, ModelError
from trioorm.expression.annotations import field_names
from trioorm.expression.user_types import JsonCodec

_Turn = Callable[[Any], Any]
_PLAIN: tuple[object, ...] = (str, int, float, bool)
_AS_TEXT: dict[object, tuple[_Turn, _Turn]] = {
    decimal.Decimal: (str, decimal.Decimal),
    uuid.UUID: (str, uuid.UUID),
    datetime.datetime: (datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    datetime.date: (datetime.date.isoformat, datetime.date.fromisoformat),
    datetime.time: (datetime.time.isoformat, datetime.time.fromisoformat),
}


def json_codec_for(annotation: object) -> JsonCodec:
    """The codec of an annotation.

    Raises:
        ModelError: a part of it has no place in JSON.
    """
    dump, load = _codec(annotation, {})
    return JsonCodec(dump, _naming(load, annotation))


def _naming(load: _Turn, annotation: object) -> _Turn:
    name = getattr(annotation, "__qualname__", str(annotation))

    def load_named(value: object) -> object:
        try:
            return load(value)
        except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
            raise DataError(
                f"a jsonb value is no {name}: {type(error).__name__}.\n"
                "To fix it: give new fields a default, so that rows written before can be read; or correct the row.",
                sqlstate="22000",
            ) from None

    return load_named


def _codec(annotation: object, known: dict[object, tuple[_Turn, _Turn]]) -> tuple[_Turn, _Turn]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _codec(arguments[0], known)
    if isinstance(annotation, type) and annotation in _PLAIN:
        return _same, _checked(annotation)
    if annotation in (object, Any, dict, list, types.NoneType, None):
        return _same, _same
    if annotation in _AS_TEXT:
        return _AS_TEXT[annotation]
    if origin in (typing.Union, types.UnionType):
        return _optional(annotation, arguments, known)
    if origin in (list, tuple, set, frozenset) and (origin is not tuple or arguments[1:] == (Ellipsis,)):
        dump, load = _codec(arguments[0], known)
        make = typing.cast("type[list[Any]]", origin)
        return (lambda items: [dump(item) for item in items]), (lambda items: make(load(item) for item in items))
    if origin is dict and arguments[0] is str:
        dump, load = _codec(arguments[1], known)
        return (
            lambda mapping: {key: dump(value) for key, value in mapping.items()},
            lambda mapping: {key: load(value) for key, value in mapping.items()},
        )
    if isinstance(annotation, type):
        return _class_codec(annotation, known)
    raise _no_place(annotation)


def _optional(annotation: object, arguments: tuple[object, ...], known: dict[object, tuple[_Turn, _Turn]]) -> tuple[_Turn, _Turn]:
    parts = [part for part in arguments if part is not types.NoneType]
    if all(part in _PLAIN or typing.get_origin(part) in (dict, list) for part in parts) and len(parts) > 1:
        return _same, _same  # JSON's own kinds tell themselves apart
    if len(parts) != 1:
        raise ModelError(
            f"{annotation} could be any of several classes, and JSON would not say which.\n"
            "To fix it: let the codec decide: column(json=JsonCodec(dump=..., load=...))."
        )
    dump, load = _codec(parts[0], known)
    return (lambda value: None if value is None else dump(value)), (lambda value: None if value is None else load(value))


def _class_codec(python: Any, known: dict[object, tuple[_Turn, _Turn]]) -> tuple[_Turn, _Turn]:  # noqa: ANN401 - any class
    if python in known:
        return known[python]
    if issubclass(python, Enum):
        return (lambda member: member.value), python
    pydantic = sys.modules.get("pydantic")  # a class of its can only be there when it is
    if pydantic is not None and issubclass(python, pydantic.BaseModel):
        return (lambda value: value.model_dump(mode="json")), python.model_validate
    names = field_names(python)
    if not names:
        raise _no_place(python)
    # A class may hold itself, so its place is taken before its fields are looked at.
    codecs: dict[str, tuple[_Turn, _Turn]] = {}
    arguments = _argument_names(python)

    def dump_object(value: object) -> dict[str, object]:
        return {name: dump(getattr(value, name)) for name, (dump, _) in codecs.items()}

    def load_object(value: dict[str, object]) -> object:
        return python(**{arguments[name]: load(value[name]) for name, (_, load) in codecs.items() if name in value})

    known[python] = dump_object, load_object
    hints = typing.get_type_hints(python)
    for name in names:
        codecs[name] = _codec(hints[name], known)
    return dump_object, load_object


def _argument_names(python: Any) -> dict[str, str]:  # noqa: ANN401 - a class with fields of one kind or the other
    """What the constructor calls each field: attrs leaves the underscores of private ones out."""
    if attrs.has(python):
        return {field.name: field.alias or field.name for field in attrs.fields(python)}
    return {field.name: field.name for field in dataclasses.fields(python)}


def _checked(python: type) -> _Turn:
    """Refuse JSON of another kind: a number where a text is meant would go through the program as one."""

    def check(value: object) -> object:
        if type(value) is python:
            return value
        if python is float and type(value) is int:
            return float(value)
        raise TypeError

    return check


def _same(value: object) -> object:
    return value


def _no_place(annotation: object) -> ModelError:
    name = getattr(annotation, "__qualname__", str(annotation))
    return ModelError(
        f"{name} has no place in JSON.\n"
        "Known are str, int, float, bool, Decimal, UUID, dates and times, enums, lists, dicts with str keys, attrs classes, dataclasses "
        "and pydantic models.\n"
        "To fix it: say how: column(json=JsonCodec(dump=..., load=...))."
    )
