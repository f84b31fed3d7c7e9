"""What to load beneath a select: the statements that find relations' objects, and the ones that count them.

The contract: pure; one statement for a relation, whatever the number of owners. It finds them by their keys, which come as one array for
each column: sent as bind values, or handed on by an earlier statement of the same flight, in settings of the transaction
(`set_config(..., true)`), which end with it. So its text depends on neither the keys nor their number. A limit holds for each owner: its
objects are found by a lateral subquery.

Why settings: the statement that hands keys on runs once and says exactly which owners there are, whatever it is, so that nothing has to
be known of it (an order that leaves rows equal, `random()`, a lock). Measured on one film with its directors, cast and reviews, wall time
at the client: 65 µs; 72 when each statement repeats the one above it as a subquery, and 363 once that has a range and a limit, since
PostgreSQL plans such statements anew each time; 59 as one statement that unites all rows, which takes 324 then for the same reason; 147
level by level. (Of one object, by its key, it is one statement all the same: `uniting.py`.)
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Never, TypeVar, cast

from trioorm.errors import QueryError
from trioorm.expression.aggregates import count
from trioorm.expression.expression import Expression, Operation
from trioorm.expression.functions import and_, literal, row
from trioorm.expression.identifiers import type_text
from trioorm.expression.named_functions import func
from trioorm.expression.shape import Cast, ColumnReference, Fragment, InRows, Quantified, Shape, Source
from trioorm.expression.types import BOOLEAN, DOUBLE, REAL, SqlType, array_of
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.model.load import Load
from trioorm.model.model import Model, model_of
from trioorm.model.relation import Link, Relation
from trioorm.query.entity import alias
from trioorm.query.select import Select, select
from trioorm.query.shape import Handed, HandingShape, ModelItem
from trioorm.query.statement import Statement
from trioorm.query.tables import Table, outputs_of

R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")

_POSITION: Final = "trioorm_position"
_INEXACT: Final = (REAL, DOUBLE)
"""A session may be set to write these with fewer digits than they have (`extra_float_digits`), so they are not handed on as text."""


class Finding(NamedTuple):
    """A statement that finds the objects of one relation.

    Attributes:
        statement: its rows are objects, or an object and behind it the key of its owner, where `keyed` says so.
    """

    statement: Select[typing.Any]
    keyed: bool


def find_related(load: Load[Never], keys: Sequence[Expression[typing.Any]]) -> Finding:
    """The statement for the objects of owners with these keys.

    Args:
        load: what of which relation.
        keys: an array for each of `relation.keys.own`; side by side they are the keys, no two the same.

    Raises:
        ModelError: the relation cannot be worked out.
        QueryError: a condition is none.
    """
    relation = load.relation
    if relation.is_figure:
        return _figures(load, keys)
    near, link = relation.keys.near, relation.keys.link
    target: type[typing.Any] = relation.target.model
    order = load.order or relation.order
    most = load.most if relation.many else 1 if order else None
    if most is None:
        found: Select[typing.Any] = select(target) if link is None else cast("typing.Any", select)(target, *near)
        found = _linked(found, target, link).where(_among(relation, keys), *relation.conditions, *load.conditions)
        return Finding(found.order_by(*order) if order else found, keyed=link is not None)
    from trioorm.query.table_functions import unnest  # only for so many of each

    owners = cast("typing.Any", unnest)(*keys, name="trioorm_keys")
    own = [owners.column(output.name) for output in owners.outputs]
    inner: Select[typing.Any] = select(target)
    if order:
        inner = cast("Select[typing.Any]", select(target, func.row_number().over(order_by=order).as_(_POSITION)))
    inner = _linked(inner, target, link).where(*_pairs(near, own), *relation.conditions, *load.conditions)
    there = (inner.order_by(*order) if order else inner).limit(most).lateral("trioorm_found")
    found = cast("typing.Any", select)(there[target], *own).from_(owners).join(there)
    return Finding(found.order_by(there.column(_POSITION)) if order else found, keyed=True)


def find_for_one(load: Load[Never], key: Sequence[Expression[typing.Any]]) -> Finding:
    """The statement for the objects of one owner: the plain one that anybody would write.

    Args:
        load: what of which relation.
        key: a value for each of `relation.keys.own`.

    Raises:
        As `find_related`.
    """
    relation = load.relation
    if relation.is_figure:
        return Finding(_figure(load, key), keyed=False)
    order = load.order or relation.order
    target: type[typing.Any] = relation.target.model
    found: Select[typing.Any] = _linked(select(target), target, relation.keys.link)
    found = found.where(*_pairs(relation.keys.near, key), *relation.conditions, *load.conditions)
    if order:
        found = found.order_by(*order)
    most = load.most if relation.many else 1 if order else None
    return Finding(found if most is None else found.limit(most), keyed=False)


def _figure(load: Load[Never], key: Sequence[Expression[typing.Any]]) -> Select[typing.Any]:
    """The statement for a figure of what one owner's relation leads to: always one row."""
    relation = load.relation
    target: type[typing.Any] = relation.target.model
    value = relation.aggregate if relation.aggregate is not None else count()
    found: Select[typing.Any] = select(value.as_("trioorm_figure"))
    found = found.from_(target) if relation.keys.link is None else _linked(found, target, relation.keys.link)
    return found.where(*_pairs(relation.keys.near, key), *relation.conditions, *load.conditions)


def _figures(load: Load[Never], keys: Sequence[Expression[typing.Any]]) -> Finding:
    """The same for several owners: a row for each of their keys."""
    from trioorm.query.table_functions import unnest  # as above

    owners = cast("typing.Any", unnest)(*keys, name="trioorm_keys")
    own = [owners.column(output.name) for output in owners.outputs]
    there = _figure(load, own).lateral("trioorm_found")
    return Finding(cast("typing.Any", select)(there.column("trioorm_figure"), *own).from_(owners).join(there), keyed=True)


def values_of(load: Load[Never], *, of_one: bool = False) -> tuple[object, ...]:
    """The bind values of the statement that finds a relation's objects, without those of the keys, which come first.

    Args:
        load: what of which relation.
        of_one: that of `find_for_one`.
    """
    relation = load.relation
    order = load.order or relation.order
    conditions = [value for condition in (*relation.conditions, *load.conditions) for value in condition.bind_values]
    ordered = [value for term in order for value in term.bind_values]
    most = load.most if relation.many else 1 if order else None
    if relation.aggregate is not None:
        return (*relation.aggregate.bind_values, *conditions)
    if most is None:
        return (*conditions, *ordered)
    return (*conditions, *ordered, most) if of_one else (*ordered, *conditions, *ordered, most)


# Keys.


def can_be_handed(fields: Iterable[FieldInfo]) -> bool:
    """Whether the values of these fields, as texts, are exactly what they were."""
    return not any(field.type in _INEXACT for field in fields)


def sent_keys(fields: Sequence[FieldInfo], keys: Sequence[tuple[object, ...]] = ()) -> list[Expression[typing.Any]]:
    """Keys that are sent as bind values, one array for each field."""
    kinds = [array_of(field.type) for field in fields]
    arrays = [select(literal([key[at] for key in keys], type=kind)) for at, kind in enumerate(kinds)]
    # In a subquery, for the planner not to see how many there are: it would plan anew each time, which takes longer than most loads.
    return [Operation(Cast(array.operand(), kind.bound), array.bind_values, kind) for array, kind in zip(arrays, kinds, strict=True)]


def handed_keys(fields: Sequence[FieldInfo], settings: Sequence[str]) -> list[Expression[typing.Any]]:
    """Keys that an earlier statement of the same flight hands on, one setting for each field."""
    made: list[Expression[typing.Any]] = []
    for field, setting in zip(fields, settings, strict=True):
        kind = array_of(field.type)
        name = type_text(kind.bound)
        made.append(Operation(Fragment((f"(SELECT current_setting('{setting}')::{name})::{name}",), repeatable=True), (), kind))
    return made


class Handing(Statement[R_co]):
    """A select that hands on keys among its rows, for later statements of the same flight. Its rows are those of the select.

    Args:
        select: whose rows hold the objects.
        wanted: a model, the fields of its objects that are the key, and the setting for each of these.
    """

    __slots__ = ("_select", "_shape")

    def __init__(self, select: Select[R_co], wanted: Iterable[tuple[ModelInfo, Sequence[FieldInfo], Sequence[str]]]) -> None:
        self._select = select
        places = _places(select.items)
        handed = tuple(
            Handed(
                tuple(tuple(place[field.attribute] for field in fields) for model, place in places if model is info.model), tuple(settings)
            )
            for info, fields, settings in wanted
        )
        self._shape = HandingShape(select.shape, len(outputs_of(select.items)[0]), handed)

    @property
    def shape(self) -> Shape:
        return self._shape

    @property
    def bind_values(self) -> tuple[object, ...]:
        return self._select.bind_values


def _places(items: Sequence[Shape]) -> list[tuple[type, dict[str, int]]]:
    """The models in a row, with the position of each of their columns, from 1."""
    found: list[tuple[type, dict[str, int]]] = []
    position = 1
    for item in items:
        if not isinstance(item, ModelItem):
            position += 1
            continue
        fields = model_of(item.model).fields
        found.append((item.model, {field.attribute: position + at for at, field in enumerate(fields)}))
        position += len(fields)
    return found


# Parts of the statements.


def _linked(found: Select[typing.Any], target: type, link: Link | None) -> Select[typing.Any]:
    """The select over the link's table and the target's, where there is a link."""
    if link is None:
        return found
    return found.from_(_table(link)).join(target, and_(*_pairs(link.columns, [field.column for field in link.target])))


def _table(link: Link) -> type[Model] | Table:
    if isinstance(link.table, Source):
        return Table(link.table.visible_name, link.table, (), ())
    return cast("type[Model]", link.table)


def _pairs(left: Iterable[Expression[object]], right: Iterable[Expression[object]]) -> list[Expression[bool]]:
    return [one == other for one, other in zip(left, right, strict=True)]


def _among(relation: Relation, keys: Sequence[Expression[typing.Any]]) -> Expression[bool]:
    """That a row belongs to one of the owners.

    With an index, `= ANY (array)` looks each key up, and all of them in one scan. Without one the array would be gone through for every row
    of the table; as rows, the keys are hashed.
    """
    near = relation.keys.near
    arrays = tuple(key.operand() for key in keys)
    values = tuple(value for key in keys for value in key.bind_values)
    if len(near) == 1 and _is_indexed(relation):
        return Operation(Quantified(near[0].operand(), "=", "ANY", arrays[0]), values, BOOLEAN)
    left: Expression[typing.Any] = near[0] if len(near) == 1 else cast("typing.Any", row)(*near)
    return Operation(InRows(left.operand(), False, arrays), values, BOOLEAN)


def _is_indexed(relation: Relation) -> bool:
    """Whether the models say that there is an index by which the rows of an owner are found."""
    keys = relation.keys
    if keys.link is None:
        info = relation.target
    elif isinstance(keys.link.table, type):
        info = model_of(keys.link.table)
    else:
        return False
    if info.is_view:
        return False
    name, table = keys.near[0].shape.name, info.table
    plain = [table.primary_key[:1], *(unique.columns[:1] for unique in table.uniques)]
    formulas = [index.terms[0].formula.shape for index in table.indexes if index.where is None and index.method == "btree"]
    return (name,) in plain or any(isinstance(shape, ColumnReference) and shape.name == name for shape in formulas)


# Counts and other aggregates.


def aggregate_related(load: Load[Never], aggregate: Expression[S]) -> Expression[S]:
    """An aggregate over a relation's objects, for the owner in the statement around it.

    Raises:
        QueryError: the relation is limited.
    """
    if load.most is not None:
        raise QueryError(f"{load.relation}.limit(...) and an aggregate: it would see at most the limit.\nTo fix it: leave limit() out.")
    relation = load.relation
    owner, target, keys = relation.owner, relation.target, relation.keys
    link = keys.link
    table = target.model
    near = list(keys.near)
    conditions: list[Expression[bool | None]] = [*relation.conditions, *load.conditions]
    if owner.source == target.source:  # inside, the table goes by another name, or its columns would be the owner's
        name = f"counted_{target.table_name}"[:63]
        table = alias(cast("type[Model]", target.model), name)
        source = target.source._replace(alias=name)
        near = [column.of(source) if column.source == target.source else column for column in near]
        conditions = [_of_other(condition, target.source, source) for condition in conditions]
        aggregate = _of_other(aggregate, target.source, source)
    found = select(aggregate)
    if link is None:
        found = found.from_(table)
    else:
        sides = [getattr(table, field.attribute) for field in link.target]
        found = found.from_(_table(link)).join(table, and_(*_pairs(link.columns, sides)))
    return found.where(*_pairs(near, [field.column for field in keys.own]), *conditions)


def _of_other(expression: Expression[S], old: Source, new: Source) -> Expression[S]:
    """An expression in which the columns of one table are read from another."""
    return Operation(_renamed(expression.operand(), old, new), expression.bind_values, cast("SqlType", expression.sql_type))


def _renamed(shape: Shape, old: Source, new: Source) -> Shape:
    if isinstance(shape, ColumnReference):
        return shape._replace(source=new) if shape.source == old else shape
    parts = [_renamed(cast("Shape", part), old, new) if isinstance(part, tuple) else part for part in shape]
    return cast("typing.Any", type(shape))._make(parts) if hasattr(shape, "_make") else tuple(parts)
