"""What to load beneath a select: the statement that finds a relation's objects for many owners at once, and the one that counts them.

The contract: pure; one statement for a relation, whatever the number of owners. Their keys travel as arrays, so the text does not depend on
how many there are. A limit holds for each owner: its objects are found by a lateral subquery.
"""

import typing
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Never, cast

from trioorm.errors import QueryError
from trioorm.expression.aggregates import count
from trioorm.expression.expression import Expression, Operation
from trioorm.expression.func import func
from trioorm.expression.functions import and_, literal, row
from trioorm.expression.shape import ColumnReference, Shape, Source
from trioorm.expression.types import array_of
from trioorm.model.load import Load, install_counter
from trioorm.model.model import Model
from trioorm.model.relation import Link
from trioorm.query.entity import alias
from trioorm.query.select import Select, select
from trioorm.query.table_functions import unnest
from trioorm.query.tables import Table

_POSITION = "trioorm_position"


class Finding(NamedTuple):
    """A statement that finds the objects of one relation.

    Attributes:
        statement: its rows are objects, or an object and behind it the key of its owner, where `keyed` says so.
    """

    statement: Select[typing.Any]
    keyed: bool


def find_related(load: Load[Never], keys: Sequence[tuple[object, ...]]) -> Finding:
    """The statement for the objects of owners with these keys.

    Args:
        load: what of which relation.
        keys: one for each owner, different from each other; the values of `relation.keys.own`.

    Raises:
        ModelError: the relation cannot be worked out.
        QueryError: a condition is none.
    """
    relation = load.relation
    near, link = relation.keys.near, relation.keys.link
    target: type[typing.Any] = relation.target.model
    order = load.order or relation.order
    most = load.most if relation.many else 1 if order else None
    if most is None:
        found: Select[typing.Any] = select(target) if link is None else cast("typing.Any", select)(target, *near)
        found = _linked(found, target, link).where(_among(near, keys), *relation.conditions, *load.conditions)
        return Finding(found.order_by(*order) if order else found, keyed=link is not None)
    arrays = [literal([key[at] for key in keys], type=array_of(field.type)) for at, field in enumerate(relation.keys.own)]
    owners = cast("typing.Any", unnest)(*arrays, name="trioorm_keys")
    own = [owners.column(output.name) for output in owners.outputs]
    inner: Select[typing.Any] = select(target)
    if order:
        inner = cast("Select[typing.Any]", select(target, func.row_number().over(order_by=order).as_(_POSITION)))
    inner = _linked(inner, target, link).where(*_pairs(near, own), *relation.conditions, *load.conditions)
    there = (inner.order_by(*order) if order else inner).limit(most).lateral("trioorm_found")
    found = cast("typing.Any", select)(there[target], *own).from_(owners).join(there)
    return Finding(found.order_by(there.column(_POSITION)) if order else found, keyed=True)


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


def _among(columns: Sequence[Expression[object]], keys: Sequence[tuple[object, ...]]) -> Expression[bool]:
    if len(columns) == 1:
        return columns[0].in_([key[0] for key in keys])
    return cast("Expression[bool]", cast("typing.Any", row)(*columns).in_(list(keys)))


def count_related(load: Load[Never]) -> Expression[int]:
    """The number of a relation's objects, for the owner in the statement around it.

    Raises:
        QueryError: the relation is limited.
    """
    if load.most is not None:
        raise QueryError(f"{load.relation}.limit(...).count() would count at most the limit.\nTo fix it: leave limit() out.")
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
        conditions = [
            Operation(_renamed(condition.shape, target.source, source), condition.bind_values, condition.sql_type)
            for condition in conditions
        ]
    counted = select(count())
    if link is None:
        counted = counted.from_(table)
    else:
        sides = [getattr(table, field.attribute) for field in link.target]
        counted = counted.from_(_table(link)).join(table, and_(*_pairs(link.columns, sides)))
    return counted.where(*_pairs(near, [field.column for field in keys.own]), *conditions)


def _renamed(shape: Shape, old: Source, new: Source) -> Shape:
    """A shape in which the columns of one table are read from another."""
    if isinstance(shape, ColumnReference):
        return shape._replace(source=new) if shape.source == old else shape
    parts = [_renamed(cast("Shape", part), old, new) if isinstance(part, tuple) else part for part in shape]
    return cast("typing.Any", type(shape))._make(parts) if hasattr(shape, "_make") else tuple(parts)


install_counter(count_related)
