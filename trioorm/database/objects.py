"""The statements behind the verbs for objects: by primary key, and whole rows.

Pure: a model or an object in, a statement out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar, cast

from trioorm.errors import QueryError
from trioorm.expression import Column, Expression, and_
from trioorm.model import UNSET, FieldInfo, Model, ModelInfo, model_of
from trioorm.query import Delete, Insert, Statement, delete, insert, select, update

__all__ = ["delete_object", "insert_objects", "must_be_object", "patch_by_key", "select_by_key", "update_object", "upsert_object"]

M = TypeVar("M", bound=Model)

_MOST_BIND_VALUES = 65_535


def must_be_object(given: M, verb: str) -> M:
    """Refuse what is no object of a model, such as the model itself.

    Raises:
        QueryError: it is none.
    """
    candidate = cast("object", given)  # callers without a type checker give anything
    if isinstance(candidate, Model):
        return given
    shown = f"the class {candidate.__qualname__}" if isinstance(candidate, type) else f"a {type(candidate).__qualname__}"
    name = candidate.__qualname__ if isinstance(candidate, type) else "User"
    raise QueryError(f"{verb}() takes an object of a model, not {shown}.\nTo fix it: {verb}({name}(...)).")


def select_by_key(model: type[M], key: tuple[object, ...]) -> Statement[M]:
    """The select of one object by its primary key.

    Raises:
        QueryError: another number of values than the key has columns.
    """
    return select(model).where(_has_key(model, key, "get"))


def patch_by_key(model: type[M], key: tuple[object, ...], values: Mapping[str, object]) -> Statement[M]:
    """The update of some columns of the row with a primary key.

    Raises:
        QueryError: no values, another number of key values than the key has columns, or there is no such column.
    """
    condition = _has_key(model, key, "patch")
    if not values:
        raise QueryError(f"patch({model.__qualname__}) was given no values.\nTo fix it: name columns, as in patch(User, 7, name='Ada').")
    return update(model).set(values).where(condition).returning(model)


def _has_key(model: type[M], key: tuple[object, ...], verb: str) -> Expression[bool]:
    info = model_of(model)
    _require_key(info)
    if len(key) != len(info.primary_key):
        names = ", ".join(field.attribute for field in info.primary_key)
        raise QueryError(
            f"the primary key of {model.__qualname__} is ({names}), and {len(key)} values were given.\n"
            f"To fix it: {verb}({model.__qualname__}, {names})."
        )
    return _all(field.column == value for field, value in zip(info.primary_key, key, strict=True))


def insert_objects(objects: Sequence[M]) -> list[Statement[M]]:
    """The inserts of objects of one class, each within PostgreSQL's limit of bind values.

    One insert as a rule, with one array for each column; rows with array columns travel value by value, so they are split.
    """
    model = type(objects[0])
    info = model_of(model)
    rows = len(objects)
    if any(field.type.element is not None for field in info.writable):
        rows = _MOST_BIND_VALUES // len(info.writable)
    return [insert(model).values_from(objects[at : at + rows]).returning(model) for at in range(0, len(objects), rows)]


def update_object(changed: M) -> Statement[M]:
    """The update of every column but the key to an object's values.

    Raises:
        QueryError: the key, or any column, is not set.
    """
    model = type(changed)
    info = model_of(model)
    values = {field.attribute: getattr(changed, field.attribute) for field in info.writable if not field.primary_key}
    unset = [name for name, value in values.items() if value is UNSET]
    if unset:
        raise QueryError(
            f"this {model.__qualname__} has no value for {', '.join(unset)}, so its row cannot be written whole.\n"
            f"To fix it: fetch the object first, or change single columns with update({model.__qualname__}).set(...)."
        )
    if not values:
        raise QueryError(
            f"{model.__qualname__} has no columns besides its key, so there is nothing to update.\nTo fix it: insert or delete it."
        )
    return update(model).set(values).where(_key_of(changed, info)).returning(model)


def delete_object(gone: Model) -> Delete[Model]:
    """The delete of an object's row.

    Raises:
        QueryError: the key is not set.
    """
    model = type(gone)
    return delete(model).where(_key_of(gone, model_of(model)))


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
    conflict = insert(model).values(made).on_conflict(*target)
    written: Insert[M]
    try:
        written = conflict.do_update()
    except QueryError:
        # Nothing but the key: setting it to itself makes PostgreSQL return the row, which DO NOTHING would not.
        written = conflict.do_update(*target)
    return written.returning(model)


def _key_of(held: Model, info: ModelInfo) -> Expression[bool]:
    _require_key(info)  # no condition at all would be every row
    return _all(field.column == _set_value(held, field) for field in info.primary_key)


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
        raise QueryError(
            f"this {model} has no {field.attribute} yet, which is its primary key, so its row is not known.\n"
            "To fix it: use the object that `insert` returned, or one that was fetched."
        )
    return value


def _all(conditions: Iterator[Expression[bool]]) -> Expression[bool]:
    return and_(*conditions)
