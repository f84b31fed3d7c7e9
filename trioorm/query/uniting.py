"""A graph of one object as one statement: the select and all that is loaded beneath it, united by UNION ALL.

The contract: pure. Each row says which part of the graph it is of, and has the columns of that part; those of the other parts are NULL.
Parts that give objects of the same model share its columns, so nothing depends on whether types that a model declares are quite those of
its table. It is for selects that give one row at most, by a key: what is loaded onto it is found by that same key, where equal means the
same everywhere, or by what the row holds; what lies further below, by what the rows above hold, which PostgreSQL computes once and reads
again.

Why not always: of many rows the empty columns cost more than statements of their own, and what PostgreSQL does for a range of rows should
depend on how many there are, while for one object there is an index. Measured (`benchmarks.speed`, `benchmarks.loading`): a film with
directors, cast and reviews takes two thirds of the client's time that a flight of statements takes, and a third of the server's; a page of
films with four levels three quarters and two thirds.
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Sequence
from typing import Final, Never, TypeAlias

from attrs import frozen

from trioorm.expression.expression import Expression, Operation
from trioorm.expression.identifiers import type_text
from trioorm.expression.shape import Binary, Bind, ColumnReference, Fragment, Shape, Source, places_in
from trioorm.expression.types import BIGINT, INTEGER, SMALLINT, UUID, array_of
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.model.load import Load
from trioorm.model.model import model_of
from trioorm.query.loading import find_for_one, find_related
from trioorm.query.select import Select
from trioorm.query.shape import ModelItem, SelectShape, UnitedPart, UnitedShape, ValueItem
from trioorm.query.statement import Statement

__all__ = ["RootKey", "United", "UnitedLoad", "root_key"]

_BUILT_IN: Final = frozenset({
    "aclitem", "any", "anyarray", "anycompatible", "anycompatiblearray", "anycompatiblemultirange", "anycompatiblenonarray",
    "anycompatiblerange", "anyelement", "anyenum", "anymultirange", "anynonarray", "anyrange", "bit", "bool", "box", "bpchar",
    "bytea", "char", "cid", "cidr", "circle", "cstring", "date", "datemultirange", "daterange", "event_trigger", "fdw_handler",
    "float4", "float8", "gtsvector", "index_am_handler", "inet", "int2", "int2vector", "int4", "int4multirange", "int4range", "int8",
    "int8multirange", "int8range", "internal", "interval", "json", "jsonb", "jsonpath", "language_handler", "line", "lseg", "macaddr",
    "macaddr8", "money", "name", "numeric", "nummultirange", "numrange", "oid", "oidvector", "path", "point", "polygon", "record",
    "refcursor", "regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator", "regproc",
    "regprocedure", "regrole", "regtype", "table_am_handler", "text", "tid", "time", "timestamp", "timestamptz", "timetz", "trigger",
    "tsm_handler", "tsmultirange", "tsquery", "tsrange", "tstzmultirange", "tstzrange", "tsvector", "txid_snapshot", "unknown",
    "uuid", "varbit", "varchar", "void", "xid", "xid8", "xml",
})  # fmt: skip
"""Types whose names tables may have too. PostgreSQL looks for a type of a name among its own first, for a table last."""

_Columns: TypeAlias = dict[str, str]
_WHOLE: Final = (SMALLINT, INTEGER, BIGINT)


@frozen(repr=False)
class RootKey:
    """That a select gives one object at most, because its conditions name a key.

    Attributes:
        info: of the object.
        given: the numbers of the values of its fields, from 1, by their columns' names; empty where there are further conditions.
        place: of the object among the items of a row.
    """

    info: ModelInfo
    given: dict[str, int]
    place: int


def root_key(statement: Select[typing.Any]) -> RootKey | None:
    """The key that a select names; None where it may give several rows, or more than an object, or locks it."""
    shape = typing.cast("SelectShape", statement.shape)
    models = [(place, item) for place, item in enumerate(shape.items) if isinstance(item, ModelItem)]
    if len(models) != 1:
        return None
    ((place, item),) = models
    info = model_of(item.model)
    if info.is_view or item.optional or item.source != info.source or shape.source not in (None, info.source):
        return None
    plain = SelectShape((), False, (), shape.items, shape.source, (), shape.where, (), (), (), shape.order_by, None, (), None)
    if shape != plain:
        return None
    named = [_named(condition, info.source) for condition in shape.where]
    given = {name: number for number, name in enumerate(named, places_in(shape.items) + 1) if name is not None}
    keys = [tuple(field.name for field in info.primary_key), *[unique.columns for unique in info.table.uniques]]
    if not any(key and set(key) <= given.keys() for key in keys):
        return None
    return RootKey(info, given if len(given) == len(named) else {}, place)


def _named(condition: Shape, source: Source) -> str | None:
    """The column that must equal a value."""
    match condition:
        case Binary("=", ColumnReference(of, name), Bind(same_as=None)) if of == source:
            return name
        case _:
            return None


@frozen(repr=False)
class UnitedLoad:
    """A relation in a united statement.

    Attributes:
        load: what of which relation.
        owner: the number of the part that finds its owners; 0 is the select.
        has_parts: further ones have their owners here.
    """

    load: Load[Never]
    owner: int
    has_parts: bool


class United(Statement[typing.Any]):
    """A select that gives one object at most, and what is loaded beneath it.

    Args:
        root: the select.
        key: what `root_key` says of it.
        loads: each behind that of its owners.
        shared: the models of which one row may be met several times.

    Attributes:
        keyed: for each of the loads, whether its rows are an object and behind it the key of its owner.
    """

    __slots__ = ("_bind_values", "_shape", "keyed")

    def __init__(self, root: Select[typing.Any], key: RootKey, loads: Sequence[UnitedLoad], shared: Collection[type]) -> None:
        items: list[Shape] = []
        parts = [_part(items, root, is_read_again=False)]
        columns = [_columns(key.info, key.place)]
        values = list(root.bind_values)
        keyed: list[bool] = []
        for each in loads:
            relation = each.load.relation
            if each.owner:
                finding = find_related(each.load, _keys_of_part(each.owner, columns[each.owner], relation.keys.own))
            else:
                pairs = zip(relation.keys.own, relation.keys.near, strict=True)
                numbers = [_number_of_value(key, field, near) for field, near in pairs]
                own = [_own_value(columns[0], *pair) for pair in zip(relation.keys.own, numbers, strict=True)]
                finding = find_for_one(each.load, own)
                if None in numbers:
                    parts[0] = parts[0]._replace(is_read_again=True)
            parts.append(_part(items, finding.statement, is_read_again=each.has_parts))
            columns.append(_columns(relation.target))
            values += finding.statement.bind_values
            keyed.append(finding.keyed)
        met_again = [at for at, item in enumerate(items) if isinstance(item, ModelItem) and item.model in shared]
        self._shape = UnitedShape(tuple(items), tuple(parts), tuple(met_again))
        self._bind_values = tuple(values)
        self.keyed = tuple(keyed)

    @property
    def shape(self) -> Shape:
        return self._shape

    @property
    def bind_values(self) -> tuple[object, ...]:
        return self._bind_values

    @property
    def is_ambiguous(self) -> bool:
        """Whether the name of one of its tables means another type, so that the types of its columns cannot be told by it."""
        for item in self._shape.items:
            match item:
                case ModelItem(source=Source(schema=None) as source) | ValueItem(ColumnReference(Source(schema=None) as source)):
                    if source.table in _BUILT_IN:
                        return True
                case _:
                    pass
        return False


def _part(items: list[Shape], statement: Select[typing.Any], *, is_read_again: bool) -> UnitedPart:
    """A part, with the united items that it has; those that no part had before are added."""
    places: list[int] = []
    for found in statement.items:
        item = ModelItem(found.model, model_of(found.model).source) if isinstance(found, ModelItem) else found
        if item not in items:
            items.append(item)
        places.append(items.index(item))
    return UnitedPart(statement.shape, tuple(places), is_read_again)


# Keys.


def _number_of_value(key: RootKey, field: FieldInfo, near: Expression[object]) -> int | None:
    """The number of the select's value that may stand for a field of its object: only where equal means identical."""
    own, other = field.type, near.sql_type
    same = (own in _WHOLE and other in _WHOLE) or (own == UUID and other == UUID)
    return key.given.get(field.name) if same else None


def _own_value(columns: _Columns, field: FieldInfo, number: int | None) -> Expression[typing.Any]:
    """The value of a field of the select's object: as it was sent, or as its row has it."""
    # The select is written first, so the numbers of its values are known.
    text = f"SELECT ${number}" if number is not None else f"SELECT {columns[field.attribute]} FROM trioorm_part_0 LIMIT 1"
    return Operation(Fragment((text,), repeatable=True), (), field.type)


def _keys_of_part(number: int, columns: _Columns, fields: Sequence[FieldInfo]) -> list[Expression[typing.Any]]:
    """The keys of the objects that a part has found, as one array for each field."""
    own = ", ".join([columns[field.attribute] for field in fields])
    made: list[Expression[typing.Any]] = []
    for at, field in enumerate(fields, 1):
        kind = array_of(field.type)
        keys = f"SELECT DISTINCT {own} FROM trioorm_part_{number}"
        if len(fields) > 1:  # side by side they are the keys, so all are in one order
            names = ", ".join([f"k{name}" for name in range(1, len(fields) + 1)])
            keys = f"SELECT k{at} FROM ({keys}) AS trioorm_keys ({names}) ORDER BY {names}"
        made.append(Operation(Fragment((f"ARRAY({keys})::{type_text(kind.bound)}",), repeatable=True), (), kind))
    return made


def _columns(info: ModelInfo, before: int = 0) -> _Columns:
    """What the columns of a part's objects are called in it, where so many others stand before them."""
    return {field.attribute: f"c{number}" for number, field in enumerate(info.fields, before + 1)}
