"""Functions of jsonb: `jsonb.set_(User.data, ["address", "city"], "Rome")`.

Access and questions are methods of expressions: `[...]`, `path`, `as_text`, `as_value`, `contains`, `has_key`; `+` merges.

Source: PostgreSQL manual, section 9.16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from trioorm.expression import building
from trioorm.expression.expression import Expression, Operation, is_expression
from trioorm.expression.named_functions import argument_type
from trioorm.expression.shape import Binary, Function, Shape
from trioorm.expression.types import BOOLEAN, INTEGER, JSONB, JSONPATH, TEXT, Json, SqlType, array_of

S = TypeVar("S")


def set_(target: Expression[S], path: Sequence[str | int], value: Json | Expression[Any], *, create: bool = True) -> Expression[S]:
    """The JSON with another value at a path (`jsonb_set`).

    Args:
        create: add the last key of the path where it is missing.
    """
    return _call("jsonb_set", target, (_path(path), _json(value), building.place_of(create, BOOLEAN, of="jsonb.set_()")), target.sql_type)


def insert(target: Expression[S], path: Sequence[str | int], value: Json | Expression[Any], *, after: bool = False) -> Expression[S]:
    """The JSON with one more value in an array, before the place that the path names, or after it (`jsonb_insert`)."""
    return _call(
        "jsonb_insert", target, (_path(path), _json(value), building.place_of(after, BOOLEAN, of="jsonb.insert()")), target.sql_type
    )


def merge(target: Expression[S], other: Mapping[str, object] | Expression[Any]) -> Expression[S]:
    """Two objects as one, the second's values in place of the first's (`||`). Not deep: an object within replaces an object within."""
    return _operation("||", target, _json(other), target.sql_type)


def delete(target: Expression[S], *keys: str | int) -> Expression[S]:
    """The JSON without some keys of an object or strings of an array, or without one place of an array (`-`)."""
    if len(keys) == 1 and isinstance(keys[0], int):
        return _operation("-", target, building.place_of(keys[0], INTEGER, of="jsonb.delete()"), target.sql_type)
    return _operation("-", target, building.place_of(list(keys), array_of(TEXT), of="jsonb.delete()"), target.sql_type)


def delete_path(target: Expression[S], *path: str | int) -> Expression[S]:
    """The JSON without what lies at a path (`#-`)."""
    return _operation("#-", target, _path(path), target.sql_type)


def path_exists(target: Expression[Any], jsonpath: str, variables: Mapping[str, object] | None = None) -> Expression[bool]:
    """Whether a jsonpath finds anything: `jsonb.path_exists(User.data, "$.tags[*] ? (@ == $tag)", {"tag": "x"})`."""
    return _call("jsonb_path_exists", target, _jsonpath(jsonpath, variables), BOOLEAN)


def path_match(target: Expression[Any], jsonpath: str, variables: Mapping[str, object] | None = None) -> Expression[bool | None]:
    """What a jsonpath that is a condition gives: `"$.age > 18"`."""
    return _call("jsonb_path_match", target, _jsonpath(jsonpath, variables), BOOLEAN)


def path_query_array(target: Expression[Any], jsonpath: str, variables: Mapping[str, object] | None = None) -> Expression[Json]:
    """All that a jsonpath finds, as a JSON array."""
    return _call("jsonb_path_query_array", target, _jsonpath(jsonpath, variables), JSONB)


def path_query_first(target: Expression[Any], jsonpath: str, variables: Mapping[str, object] | None = None) -> Expression[Json | None]:
    """The first that a jsonpath finds."""
    return _call("jsonb_path_query_first", target, _jsonpath(jsonpath, variables), JSONB)


def array_length(target: Expression[Any]) -> Expression[int]:
    """How many elements a JSON array has; of anything else an error of the server's."""
    return _call("jsonb_array_length", target, (), INTEGER)


def type_of(target: Expression[Any]) -> Expression[str]:
    """`object`, `array`, `string`, `number`, `boolean` or `null`."""
    return _call("jsonb_typeof", target, (), TEXT)


def strip_nulls(target: Expression[S]) -> Expression[S]:
    """The JSON without the keys whose value is null."""
    return _call("jsonb_strip_nulls", target, (), target.sql_type)


def build_object(**values: object) -> Expression[Json]:
    """A JSON object: `jsonb.build_object(name=User.name, age=User.age)`."""
    parts: list[building.Part] = []
    for key, value in values.items():
        parts += [building.place_of(key, TEXT, of="a key"), _argument(value)]
    return _made("jsonb_build_object", parts, JSONB)


def build_array(*values: object) -> Expression[Json]:
    """A JSON array of expressions and values."""
    return _made("jsonb_build_array", [_argument(value) for value in values], JSONB)


def to_jsonb(value: Expression[Any]) -> Expression[Json]:
    """Any value as JSON."""
    return _made("to_jsonb", [(value.operand(), value.bind_values)], JSONB)


def _argument(value: object) -> building.Part:
    return building.place_of(value, TEXT if value is None or isinstance(value, Expression) else argument_type(value), of="jsonb")


def _json(value: object) -> building.Part:
    if not is_expression(value):
        return building.place_of(value, JSONB, of="jsonb")
    given = value
    kind = given.sql_type
    if kind is not None and kind.family != "jsonb":
        return Function("to_jsonb", (given.operand(),)), given.bind_values
    return given.operand(), given.bind_values


def _path(path: Sequence[str | int]) -> building.Part:
    return building.place_of([str(key) for key in path], array_of(TEXT), of="a path")


def _jsonpath(jsonpath: str, variables: Mapping[str, object] | None) -> tuple[building.Part, ...]:
    path = building.place_of(jsonpath, JSONPATH, of="a jsonpath")
    return (path,) if variables is None else (path, building.place_of(dict(variables), JSONB, of="a jsonpath's variables"))


def _operation(operator: str, target: Expression[Any], right: building.Part, result: SqlType | None) -> Expression[Any]:
    building.require_family(target, f"jsonb's {operator}", ("jsonb",), "jsonb")
    return Operation(Binary(operator, target.operand(), right[0]), target.bind_values + right[1], result)


def _call(name: str, target: Expression[Any], more: Sequence[building.Part], result: SqlType | None) -> Expression[Any]:
    building.require_family(target, f"{name}()", ("jsonb",), "jsonb")
    return _made(name, [(target.operand(), target.bind_values), *more], result)


def _made(name: str, parts: Sequence[building.Part], result: SqlType | None) -> Expression[Any]:
    shapes: tuple[Shape, ...] = tuple(shape for shape, _ in parts)
    return Operation(Function(name, shapes), tuple(value for _, more in parts for value in more), result)
