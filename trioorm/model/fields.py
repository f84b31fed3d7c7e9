"""From the body of a model class to its fields: annotations looked up, types found, contradictions refused.

The contract: every mistake that can be seen when the class is made is a `ModelError` naming class and attribute, with the right line.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping

import attrs

from trioorm.errors import ModelError, QueryError
from trioorm.expression.annotations import type_of_annotation
from trioorm.expression.binding import accepts
from trioorm.expression.column import Column
from trioorm.expression.identifiers import quote_identifier
from trioorm.expression.shape import Source
from trioorm.expression.types import JSONB, XID, SqlType
from trioorm.model.declaration import ColumnDeclaration
from trioorm.model.field import FieldInfo
from trioorm.model.relation import RelationDeclaration
from trioorm.model.relations import Figure, Many, One
from trioorm.model.unset import UNSET

KNOWN = (
    "bool, int, float, Decimal, str, bytes, date, time, datetime, timedelta, Interval, UUID, dict, Json, IpAddress, IpNetwork, Range, "
    "Multirange, enums, lists of these"
)
RESERVED = frozenset({"mro", "table_constraints", "table_indexes", "view_query"})
"""Names that models and their metaclass have for themselves."""


def fields_of(
    owner: type, model: str, source: Source, declarations: Mapping[str, object], scope: Mapping[str, object]
) -> dict[str, FieldInfo]:
    """The fields that one class body declares."""
    annotations = inspect.get_annotations(owner)
    fields: dict[str, FieldInfo] = {}
    for attribute, annotation in annotations.items():
        declared = declarations.get(attribute)
        if isinstance(declared, RelationDeclaration):
            continue
        found = _evaluated(annotation, owner, attribute, scope)
        if typing.get_origin(found) is typing.ClassVar or found is typing.ClassVar:
            continue
        if typing.get_origin(found) is not Column:
            shown = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", repr(annotation))
            if typing.get_origin(found) in (Many, One, Figure):
                is_figure = typing.get_origin(found) is Figure
                raise ModelError(
                    f"{owner.__name__}.{attribute} is a {'figure' if is_figure else 'relation'}, and nothing says "
                    f"{'of what' if is_figure else 'by which columns'}.\nTo fix it: {attribute}: {shown}[...] = "
                    + (
                        "count_of(lambda: ...) or aggregate_of(...)"
                        if is_figure
                        else "has_many(), belongs_to(), has_one() or many_to_many()"
                    )
                )
            raise ModelError(
                f"{owner.__name__}.{attribute} is annotated {shown}, which is no column.\n"
                "To fix it:\n"
                f"  wrong: {attribute}: {shown}\n"
                f"  right: {attribute}: Column[{shown}]        for a column\n"
                f"  right: {attribute}: ClassVar[{shown}]      for an attribute of the class"
            )
        inner = _evaluated(typing.get_args(found)[0], owner, attribute, scope)
        fields[attribute] = _field(f"{owner.__name__}.{attribute}", attribute, inner, source, declared)
    for attribute, value in declarations.items():
        if isinstance(value, ColumnDeclaration) and attribute not in annotations:
            raise ModelError(
                f"{owner.__name__}.{attribute} has column(...) and no annotation.\nTo fix it: {attribute}: Column[...] = column(...)."
            )
    return fields


def _evaluated(annotation: object, owner: type, attribute: str, scope: Mapping[str, object]) -> object:
    """An annotation as an object; text is looked up in the module, then in the scope of the class statement."""
    text = annotation.__forward_arg__ if isinstance(annotation, typing.ForwardRef) else annotation
    if not isinstance(text, str):
        return annotation
    names = dict(vars(inspect.getmodule(owner) or typing)) | dict(scope)
    try:
        return typing.cast("object", eval(text, names))
    except Exception as error:
        raise ModelError(
            f"{owner.__name__}.{attribute} is annotated {text!r}, which cannot be looked up: {error}.\n"
            "To fix it: import the name at run time, not only under TYPE_CHECKING."
        ) from error


def _field(where: str, attribute: str, annotation: object, source: Source, declared: object) -> FieldInfo:
    if attribute.startswith("_") or attribute in RESERVED:
        raise ModelError(
            f"{where}: {attribute!r} is reserved.\n"
            f"To fix it: choose another attribute, and keep the column's name with column(name={attribute!r})."
        )
    if declared is None:
        said = ColumnDeclaration()
    elif isinstance(declared, ColumnDeclaration):
        said = declared
    else:
        raise ModelError(f"{where} is set to {declared!r}.\nTo fix it: {attribute}: Column[...] = column(default=...).")
    found = _json_type(annotation, said) if said.json is not False else type_of_annotation(annotation)
    if found is not None and said.json is not False and said.type is not None:
        raise ModelError(f"{where} was given json= and type=.\nTo fix it: keep one; json= makes it jsonb.")
    kind = said.type if said.type is not None else found[0] if found is not None else None
    if kind is None:
        raise ModelError(
            f"{where} is Column[{getattr(annotation, '__name__', annotation)}], for which no PostgreSQL type is known.\n"
            f"Known are {KNOWN}, and T | None.\n"
            "To fix it: use one of these, say the type, as in column(type=JSONB), or keep an object of your own with column(json=True)."
        )
    nullable = found[1] if found is not None else type(None) in typing.get_args(annotation)
    _check_field(where, said, found[0] if found is not None else None, kind, nullable)
    name = said.name if said.name is not None else attribute
    if said.version == "xmin":
        kind, name = XID, "xmin"
    try:
        quote_identifier(name)
    except QueryError as error:
        raise ModelError(f"{where}: {error}") from error
    made: Column[object] = Column(source, name, kind, attribute=attribute, nullable=nullable)
    return FieldInfo(attribute, name, made, kind, annotation, nullable, said)


def _json_type(annotation: object, said: ColumnDeclaration) -> tuple[SqlType, bool]:
    """jsonb whose values are of the annotation's class, and whether the column may be NULL."""
    from trioorm.expression.json_codec import json_codec_for  # few need it
    from trioorm.expression.user_types import JsonCodec, json_type

    parts = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else (annotation,)
    held = [part for part in parts if part is not types.NoneType]
    nullable = len(held) < len(parts)
    inner: object = held[0] if len(held) == 1 else annotation
    codec = said.json if isinstance(said.json, JsonCodec) else json_codec_for(inner)
    return json_type(inner, codec), nullable


def _check_field(where: str, said: ColumnDeclaration, annotated: SqlType | None, kind: SqlType, nullable: bool) -> None:
    differs = annotated is not None and annotated is not kind and annotated.python is not kind.python
    if differs and annotated is not None and kind.python is not object and not (annotated is JSONB and kind.python is dict):
        raise ModelError(
            f"{where} is annotated with a type that is {annotated.name}, and says type={kind.name}, "
            f"whose values are {kind.python.__name__}.\n"
            f"To fix it: annotate Column[{kind.python.__name__}], or leave type= out."
        )
    if said.generated is not False and (kind.python is not int or nullable):
        raise ModelError(
            f"{where} is generated and {kind.name}{' that may be NULL' if nullable else ''}.\n"
            "PostgreSQL numbers rows with whole numbers only.\n"
            "To fix it: Column[int] = column(primary_key=True, generated=True); for others column(server_default=...)."
        )
    if said.version and (kind.python is not int or nullable or (said.version == "xmin" and said.name is not None)):
        raise ModelError(
            f"{where} is a version, which is a whole number that is never NULL{', and xmin has its name' if said.name else ''}.\n"
            f"To fix it: Column[int] = column(version={said.version!r})."
        )
    if said.primary_key and nullable:
        raise ModelError(f"{where} is part of the primary key and may be NULL.\nTo fix it: drop `| None`; a key column is never NULL.")
    if said.default is not UNSET:
        fits = nullable if said.default is None else accepts(kind, said.default)
        if not fits:
            raise ModelError(
                f"{where} is {kind.name} and its default is {'None' if said.default is None else 'a ' + type(said.default).__qualname__}.\n"
                + ("To fix it: annotate it with `| None`." if said.default is None else f"To fix it: give a {kind.python.__name__}.")
            )


def attrs_field(field: FieldInfo) -> object:
    said = field.declaration
    kind = typing.cast("type[object]", field.annotation)
    if said.default_factory is not None:
        return attrs.field(factory=said.default_factory, type=kind)
    if said.default is not UNSET or said.optional or field.filled_by_server:
        return attrs.field(default=said.default, type=kind)
    return attrs.field(type=kind)
