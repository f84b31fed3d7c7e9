"""The statements behind the verbs for objects: by primary key, and whole rows.

Pure: a model or an object in, a statement out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar, cast
from uuid import UUID

from trioorm.errors import NoRowFound, QueryError, StaleObject
from trioorm.expression import Column, Expression
from trioorm.model import UNSET, FieldInfo, Model, ModelInfo, evolve, model_of
from trioorm.query import Delete, Insert, Statement, delete, insert, select, update, update_each

__all__ = [
    "changes_of",
    "delete_object",
    "in_order",
    "insert_object",
    "insert_objects",
    "is_versioned",
    "key_of",
    "must_be_object",
    "patch_by_key",
    "patch_cells",
    "select_by_key",
    "stale",
    "update_object",
    "update_objects",
    "upsert_object",
]

M = TypeVar("M", bound=Model)

_MOST_BIND_VALUES = 65_535
_SHOWN = 5  # keys in an error's text


def must_be_object(given: M, verb: str) -> M:
    """Refuse what is no object of a model, such as the model itself.

    Raises:
        QueryError: it is none.
    """
    candidate = cast("object", given)  # callers without a type checker give anything
    if isinstance(candidate, Model):
        return given
    if verb == "insert_many" and isinstance(candidate, tuple | list | dict):
        raise QueryError(
            f"insert_many() takes objects of a model, not a {type(cast('object', candidate)).__qualname__}.\n"
            "To fix it, one of:\n  1. for tuples: db.execute(insert(User).values_from(rows, columns=[...]))\n"
            "  2. for mappings: db.execute(insert(User).values(*rows))"
        )
    shown = f"the class {candidate.__qualname__}" if isinstance(candidate, type) else f"a {type(candidate).__qualname__}"
    name = candidate.__qualname__ if isinstance(candidate, type) else "User"
    raise QueryError(f"{verb}() takes an object of a model, not {shown}.\nTo fix it: {verb}({name}(...)).")


def select_by_key(model: type[M], key: tuple[object, ...]) -> Statement[M]:
    """The select of one object by its primary key.

    Raises:
        QueryError: another number of values than the key has columns.
    """
    return select(model).where(*_has_key(model, key, "get"))


def patch_by_key(model: type[M], key: tuple[object, ...], values: Mapping[str, object]) -> Statement[M]:
    """The update of some columns of the row with a primary key.

    Raises:
        QueryError: no values, another number of key values than the key has columns, or there is no such column.
    """
    conditions = _has_key(model, key, "patch")
    version = model_of(model).version
    changes = dict(values)
    if version is not None and version.attribute in changes:
        conditions.append(version.column == changes.pop(version.attribute))
    if not changes:
        raise QueryError(f"patch({model.__qualname__}) was given no values.\nTo fix it: name columns, as in patch(User, 7, name='Ada').")
    return update(model).set(changes).where(*conditions).returning(model)


def patch_cells(model: type[Model], key: Sequence[object], values: Mapping[str, object]) -> tuple[Sequence[object], Sequence[str]]:
    """What `patch_by_key` binds, in order, where all of it is plain values; and the attributes that it belongs to."""
    info = model_of(model)
    cells, names = [*values.values(), *key], [*values, *[field.attribute for field in info.primary_key]]
    if info.version is not None and info.version.attribute in values:
        at = names.index(info.version.attribute)
        cells.append(cells.pop(at))
        names.append(names.pop(at))
    return cells, names


def _has_key(model: type[M], key: tuple[object, ...], verb: str) -> list[Expression[bool]]:
    info = model_of(model)
    _require_key(info)
    if len(key) != len(info.primary_key):
        names = ", ".join(field.attribute for field in info.primary_key)
        raise QueryError(
            f"the primary key of {model.__qualname__} is ({names}), and {len(key)} values were given.\n"
            f"To fix it: {verb}({model.__qualname__}, {names})."
        )
    return [field.column == value for field, value in zip(info.primary_key, key, strict=True)]


def insert_object(made: M) -> Statement[M]:
    """The insert of one object."""
    model = type(made)
    return insert(model).values(made).returning(model)


def insert_objects(objects: Sequence[M]) -> list[Statement[M]]:
    """The inserts of objects of one class, each within PostgreSQL's limit of bind values.

    One insert as a rule, with one array for each column; rows with array columns travel value by value, so they are split.
    """
    model = type(must_be_object(objects[0], "insert_many"))
    info = model_of(model)
    rows = _rows_at_once(info, objects)
    return [insert(model).values_from(objects[at : at + rows]).returning(model) for at in range(0, len(objects), rows)]


def update_object(changed: M) -> Statement[M]:
    """The update of every column but the key to an object's values.

    Raises:
        QueryError: the key, or any column, is not set.
    """
    model = type(changed)
    info = model_of(model)
    values = {field.attribute: getattr(changed, field.attribute) for field in info.changeable}
    _must_be_whole(changed, info)
    if not values:
        raise QueryError(
            f"{model.__qualname__} has no columns besides its key, so there is nothing to update.\nTo fix it: insert or delete it."
        )
    return update(model).set(values).where(*_row_of(changed, info)).returning(model)


def update_objects(objects: Sequence[M]) -> list[Statement[tuple[M, int]]]:
    """The updates of the rows of objects of one class; one as a rule, as for inserts. They give the rows with the places of their objects.

    Raises:
        QueryError: as `update_object`; also for objects of several classes, and for two of one key.
    """
    info = model_of(type(objects[0]))
    _require_key(info)
    rows = _rows_at_once(info, objects, 1)
    if rows < len(objects) and len({key_of(each) for each in objects}) < len(objects):
        rows = len(objects)  # all of them together are refused
    try:
        return [update_each(info, objects[at : at + rows], first=at) for at in range(0, len(objects), rows)]
    except QueryError:
        for each in objects:
            if type(each) is info.model:
                _row_of(each, info)
                _must_be_whole(each, info)
        raise


def in_order(objects: Sequence[M], found: Iterable[tuple[M, int]], *, in_transaction: bool) -> list[M]:
    """The rows of `update_objects` in the order of their objects.

    Raises:
        NoRowFound: there is no row for some.
        StaleObject: the same, where they have versions.
    """
    by_place = {place: row for row, place in found}
    if len(by_place) == len(objects):
        return [by_place[place] for place in range(len(objects))]
    missing = [each for place, each in enumerate(objects) if place not in by_place]
    first = missing[0]
    if is_versioned(first):
        raise stale(type(first), key_of(first), "update_many", safe_to_retry=in_transaction)
    info = model_of(type(first))
    shown = "; ".join(_shown_key(info, key_of(each)) for each in missing[:_SHOWN])
    more = f", and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
    raise NoRowFound(
        f"update_many found no row for {len(missing):,} of {len(objects):,} objects, and did nothing: {shown}{more}.\n"
        "To fix it: leave out what was deleted, or insert it with upsert or copy_in(on_conflict=...)."
    )


def changes_of(changed: M, since: M) -> dict[str, object] | None:
    """What `patch` must write to the row of an object, because it differs from what it was; with the version that the row must have, where
    there is one. None where nothing differs.

    Raises:
        QueryError: they are of different classes or rows, or a column that had a value has none.
    """
    model = type(changed)
    info = model_of(model)
    if type(since) is not model or any(_set_value(changed, key) != _set_value(since, key) for key in info.primary_key):
        what = f"a {type(since).__qualname__}" if type(since) is not model else f"a {model.__qualname__} of another key"
        raise QueryError(
            f"update(..., since=...) compares an object with what it was, and was given {what}.\n"
            f"To fix it: before = copy.deepcopy(object), change the object, then update(object, since=before)."
        )
    _require_key(info)
    values: dict[str, object] = {}
    for field in info.changeable:
        now, before = getattr(changed, field.attribute), getattr(since, field.attribute)
        if type(now) is not type(before) or now != before:  # True == 1, and 1 == 1.0
            values[field.attribute] = now
    if info.version is not None:
        version = _set_value(since, info.version)
        if values:
            values[info.version.attribute] = version
    return values or None


def delete_object(gone: Model) -> Delete[Model]:
    """The delete of an object's row.

    Raises:
        QueryError: the key is not set.
    """
    model = type(gone)
    return delete(model).where(*_row_of(gone, model_of(model)))


def upsert_object(made: M, on: Sequence[Column[object]]) -> Statement[M]:
    """The insert of an object that writes to the row with the same key instead, if there is one.

    Args:
        made: the object.
        on: the columns of the unique constraint that decides; the primary key when empty.
    """
    model = type(made)
    info = model_of(model)
    _require_key(info)
    target: list[Expression[object]] = list(on) or [field.column for field in info.primary_key]
    unchanged = None
    if is_versioned(made):
        version = cast("FieldInfo", info.version)
        number = _set_value(made, version)
        unchanged = version.column == number
        if not version.computed:  # a row that is gone comes back as another than those who fetched it know
            made = evolve(made, **{version.attribute: cast("int", number) + 1})
    conflict = insert(model).values(made).on_conflict(*target)
    written: Insert[M]
    try:
        written = conflict.do_update(where=unchanged)
    except QueryError:
        # Nothing but the key: setting it to itself makes PostgreSQL return the row, which DO NOTHING would not.
        written = conflict.do_update(*target, where=unchanged)
    return written.returning(model)


def is_versioned(held: Model) -> bool:
    """Whether an object knows of which version of its row it is."""
    version = model_of(type(held)).version
    return version is not None and getattr(held, version.attribute) is not UNSET


def key_of(held: Model) -> tuple[object, ...]:
    """The values of an object's primary key."""
    return tuple([cast("object", getattr(held, field.attribute)) for field in model_of(type(held)).primary_key])


def stale(model: type[Model], key: tuple[object, ...], verb: str, *, safe_to_retry: bool) -> StaleObject:
    """The error for an object whose row is not any more as it was fetched."""
    info = model_of(model)
    shown = _shown_key(info, key)
    variable = model.__qualname__[:1].lower() + model.__qualname__[1:]
    keys = ", ".join(f"{variable}.{field.attribute}" for field in info.primary_key)
    return StaleObject(
        f"{verb} did nothing: the row of this {model.__qualname__} ({shown}) was changed or deleted by others since it was fetched.\n"
        "To fix it, one of:\n"
        f"  1. fetch it again and make the change to that: {variable} = await tx.get({model.__qualname__}, {keys})\n"
        "  2. tell the user, who decides between the two states\n"
        "  3. fetch with for_update() in the transaction that writes, where others may wait",
        model=model,
        key=key,
        safe_to_retry=safe_to_retry,
    )


def _shown_key(info: ModelInfo, key: tuple[object, ...]) -> str:
    """What may be read of a key: numbers and UUIDs name the row; a text may be what nobody should read in a log."""
    return ", ".join(
        f"{field.attribute}={value}" if type(value) in (int, UUID) else field.attribute
        for field, value in zip(info.primary_key, key, strict=True)
    )


def _must_be_whole(held: Model, info: ModelInfo) -> None:
    unset = [field.attribute for field in info.changeable if getattr(held, field.attribute) is UNSET]
    if unset:
        model = type(held).__qualname__
        raise QueryError(
            f"this {model} has no value for {', '.join(unset)}, so its row cannot be written whole.\n"
            f"To fix it: fetch the object first, or change single columns with update({model}).set(...)."
        )


def _rows_at_once(info: ModelInfo, objects: Sequence[Model], more: int = 0) -> int:
    """How many rows fit into one statement: all, except where an array column makes them travel value by value."""
    if any(field.type.element is not None for field in info.writable):
        return _MOST_BIND_VALUES // (len(info.writable) + more)
    return len(objects)


def _row_of(held: Model, info: ModelInfo) -> list[Expression[bool]]:
    """That a row is the object's, and of the version that it was."""
    _require_key(info)  # no condition at all would be every row
    known = info.primary_key if info.version is None else (*info.primary_key, info.version)
    return [field.column == _set_value(held, field) for field in known]


def _require_key(info: ModelInfo) -> None:
    if not info.primary_key:
        raise QueryError(
            f"{info.model.__qualname__} is a view without a primary key, so a row of it cannot be found by one.\n"
            f"To fix it, one of:\n  1. select({info.model.__qualname__}).where(...)\n"
            "  2. if a column tells its rows apart: column(primary_key=True)"
        )


def _set_value(held: Model, field: FieldInfo) -> object:
    value = getattr(held, field.attribute)
    if value is UNSET:
        model = type(held).__qualname__
        what = "its version, so nobody knows whether its row was changed" if field.version else "its primary key, so its row is not known"
        raise QueryError(
            f"this {model} has no {field.attribute} yet, which is {what}.\n"
            "To fix it: use the object that `insert` returned, or one that was fetched."
        )
    return value
