"""Objects as plain data and back: dictionaries, cattrs, pydantic.

The contract: what was not loaded is left out and never loaded; columns that the server fills are left out until it has. Without a list of
relations to follow, a relation that leads back to an object which is just being written is left out as well, so graphs with circles end.
cattrs and pydantic are imported when they ask, never before.
"""

from __future__ import annotations

import contextvars
import types
import typing
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from trioorm.errors import QueryError
from trioorm.expression.types import JSONB
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.model.load import Load, check_load
from trioorm.model.relation import Relation
from trioorm.model.unset import UNSET

if TYPE_CHECKING:
    from cattrs import Converter
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

M = TypeVar("M")

_above: contextvars.ContextVar[tuple[int, ...]] = contextvars.ContextVar("trioorm_written_objects", default=())


def as_dict(held: M, *relations: Load[M]) -> dict[str, object]:
    """An object's columns, and what these relations hold, as dictionaries: `as_dict(film, Film.genres, Film.credits.load(Credit.person))`.

    As deep as the relations are named, so circles are no trouble. Values of columns are what `attrs.asdict` makes of them.

    Raises:
        RelationNotLoaded: one of them was not loaded.
        QueryError: the relation of another model.
    """
    as_attrs = cast("attrs.AttrsInstance", held)
    found: dict[str, object] = attrs.asdict(as_attrs)
    for load in relations:
        check_load(load, type(held), "as_dict()")
        value: Any = getattr(held, load.relation.attribute)
        nested = cast("tuple[Load[Any], ...]", load.nested)
        if load.relation.is_figure:
            found[load.relation.attribute] = value
        elif load.relation.many:
            found[load.relation.attribute] = [as_dict(each, *nested) for each in value]
        else:
            found[load.relation.attribute] = None if value is None else as_dict(value, *nested)
    return found


def configure_converter(converter: Converter) -> None:
    """Teach a converter of cattrs to take models apart and to make them, with the relations that are loaded.

    converter = cattrs.preconf.json.make_converter()
    configure_converter(converter)
    text = converter.dumps(films)
    """

    def unstructure(held: object) -> dict[str, object]:
        info = _require_info(type(held))
        with _written(held) as parts:
            return {name: converter.unstructure(value, _annotation_of(info, name)) for name, value in parts.items()}

    def structure(data: Mapping[str, object], model: type) -> object:
        info = _require_info(model)
        parts: dict[str, object] = {}
        for name in (*info.by_attribute, *_relations(model)):
            if name in data:
                any_json = name in info.by_attribute and info.by_attribute[name].type is JSONB
                parts[name] = data[name] if any_json else converter.structure(data[name], cast("Any", _annotation_of(info, name)))
        return _made(info, parts)

    converter.register_unstructure_hook_func(_is_model, unstructure)
    converter.register_structure_hook_func(_is_model, structure)


def pydantic_schema(model: type, handler: GetCoreSchemaHandler) -> CoreSchema:
    """What pydantic asks a model class for: how its objects are checked, made and written, and what their JSON looks like.

    Objects go in as they are, dictionaries become objects; relations may be there or not. All models that relations lead to are described
    at once, since they lead to each other.
    """
    from pydantic_core import core_schema

    found: dict[type, ModelInfo] = {}
    waiting = [_require_info(model)]
    while waiting:
        info = waiting.pop()
        if info.model not in found:
            found[info.model] = info
            waiting.extend(relation.target for relation in _relations(info.model).values() if not relation.is_figure)
    definitions = [_definition(info, handler) for info in found.values()]
    return core_schema.definitions_schema(core_schema.definition_reference_schema(_reference(model)), definitions)


def _definition(info: ModelInfo, handler: GetCoreSchemaHandler) -> CoreSchema:
    from pydantic_core import core_schema

    parts: dict[str, core_schema.TypedDictField] = {}
    for field in info.fields:
        parts[field.attribute] = core_schema.typed_dict_field(_column_schema(field, handler), required=_is_required(field))
    for name, relation in _relations(info.model).items():
        if relation.is_figure:
            parts[name] = core_schema.typed_dict_field(handler.generate_schema(relation.figure_type), required=False)
            continue
        target = core_schema.definition_reference_schema(_reference(relation.target.model))
        schema = core_schema.list_schema(target) if relation.many else core_schema.nullable_schema(target) if relation.optional else target
        parts[name] = core_schema.typed_dict_field(schema, required=False)

    def check(given: object, inner: Callable[[object], object]) -> object:
        return given if type(given) is info.model else _made(info, cast("dict[str, object]", inner(given)))

    def write(held: object, inner: Callable[[object], object]) -> object:
        if type(held) is not info.model:
            return inner(held)  # which says what it is
        with _written(held) as written:
            return inner(written)

    def describe(schema: CoreSchema, inner: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = inner.resolve_ref_schema(inner(schema))
        described["title"] = info.model.__name__
        always = [field.attribute for field in info.fields if inner.mode == "serialization" or _is_required(field)]
        if always:
            described["required"] = always
        return described

    return core_schema.no_info_wrap_validator_function(
        check,
        core_schema.typed_dict_schema(parts),
        ref=_reference(info.model),
        metadata={"pydantic_js_functions": [describe]},
        serialization=core_schema.wrap_serializer_function_ser_schema(write),
    )


def _column_schema(field: FieldInfo, handler: GetCoreSchemaHandler) -> CoreSchema:
    from pydantic.errors import PydanticSchemaGenerationError
    from pydantic_core import core_schema

    if field.type is JSONB:  # any JSON at all
        return core_schema.any_schema()
    try:
        return handler.generate_schema(field.annotation)
    except PydanticSchemaGenerationError:  # a range, an interval, a class of attrs: pydantic knows nothing of it
        return core_schema.any_schema(serialization=core_schema.plain_serializer_function_ser_schema(_plain, when_used="json"))


def _plain(value: object) -> object:
    if value is None:
        return None
    return attrs.asdict(cast("attrs.AttrsInstance", value)) if attrs.has(type(value)) else str(value)


def _is_required(field: FieldInfo) -> bool:
    said = field.declaration
    return not (said.default is not UNSET or said.default_factory is not None or said.optional or field.filled_by_server)


def _reference(model: type) -> str:
    """As pydantic names classes, so that its names for them in JSON schemas are short."""
    return f"{model.__module__}.{model.__qualname__}:{id(model)}"


@contextmanager
def _written(held: object) -> Generator[dict[str, object]]:
    """An object's columns and loaded relations; inside the block, what leads back to the object is left out."""
    info = _require_info(type(held))
    above = (*_above.get(), id(held))
    values = ((field.attribute, getattr(held, field.attribute)) for field in info.fields)
    parts: dict[str, object] = {name: value for name, value in values if value is not UNSET}
    for name in _relations(info.model):
        try:
            value: object = object.__getattribute__(held, name)
        except AttributeError:
            continue
        if not any(id(each) in above for each in (cast("list[object]", value) if isinstance(value, list) else (value,))):
            parts[name] = value
    token = _above.set(above)
    try:
        yield parts
    finally:
        _above.reset(token)


def _made(info: ModelInfo, parts: Mapping[str, object]) -> object:
    make = cast("Callable[..., object]", info.model)
    made = make(**{name: value for name, value in parts.items() if name in info.by_attribute})
    for name, value in parts.items():
        if name not in info.by_attribute:
            object.__setattr__(made, name, value)  # frozen models too
    return made


def _annotation_of(info: ModelInfo, name: str) -> object:
    """The type of a column or a relation, as Python has it."""
    field = info.by_attribute.get(name)
    if field is not None:
        return field.annotation
    relation = _relations(info.model)[name]
    if relation.is_figure:
        return relation.figure_type
    target = relation.target.model
    return types.GenericAlias(list, (target,)) if relation.many else typing.Optional[target] if relation.optional else target  # noqa: UP045 - made here


def _is_model(kind: object) -> bool:
    return isinstance(getattr(type(kind), "__trioorm__", None), ModelInfo)


def _require_info(model: type) -> ModelInfo:
    if not _is_model(model):
        raise QueryError(f"{model.__qualname__} is abstract and has no table.\nTo fix it: name a model that inherits from it.")
    return cast("ModelInfo", getattr(type(model), "__trioorm__", None))


def _relations(model: type) -> Mapping[str, Relation]:
    return cast("Mapping[str, Relation]", getattr(type(model), "__trioorm_relations__", {}))
