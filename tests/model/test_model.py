"""Models: attrs classes with slots, whose class attributes are columns; and declarations that cannot work."""

# pyright: reportUnusedClass=false
# Classes whose making fails are never used.

import copy
import datetime
import decimal
import enum
import pickle
import typing
from collections.abc import Callable
from typing import ClassVar

import attrs
import pytest

from tests.query.shop import Line, Order, User, unchecked
from trioorm.errors import ModelError, UnknownColumn
from trioorm.expression import BIGINT, INTEGER, JSONB, SMALLINT, TEXT, Column, Json, array_of, enum_type
from trioorm.model import UNSET, Model, column, model_of


class Stamped(Model, abstract=True):
    id: Column[int] = column(primary_key=True, generated=True)
    changed_at: Column[datetime.datetime | None] = column(default=None)


class Named(Model, abstract=True):
    name: Column[str]

    def shout(self) -> str:
        return self.name.upper()


class City(Stamped, Named, table="cities"):
    people: Column[int] = column(default=0)

    def shout(self) -> str:
        return super().shout() + "!"


class Point(Model, table="points", frozen=True):
    x: Column[int] = column(primary_key=True)
    y: Column[int] = column(primary_key=True)


def test_an_object_reads_its_values_and_the_class_its_columns() -> None:
    user = User(name="Ada", age=36)
    assert (user.name, user.age, user.email, user.active) == ("Ada", 36, None, True)
    assert isinstance(User.age, Column)
    assert (User.age.name, User.age.sql_type, User.age.nullable) == ("age", SMALLINT, False)
    user.age = 37
    assert user.age == 37


def test_objects_have_slots_and_read_them_without_python_code() -> None:
    user = User(name="Ada", age=36)
    assert not hasattr(user, "__dict__")
    assert type(User.__dict__["age"]).__name__ == "member_descriptor"
    with pytest.raises(AttributeError):
        unchecked(user).agee = 3


def test_a_generated_key_is_unset_until_it_is_given() -> None:
    user = User(name="Ada", age=36)
    assert unchecked(user).id is UNSET
    assert not bool(UNSET)
    assert repr(user) == "User(id=UNSET, name='Ada', age=36, email=None, active=True, manager_id=None)"
    assert unchecked(User)(id=7, name="Ada", age=36).id == 7
    assert unchecked(copy.deepcopy(user)).id is UNSET
    assert unchecked(pickle.loads(pickle.dumps(user))).id is UNSET


def test_attrs_functions_work() -> None:
    user = unchecked(User)(id=7, name="Ada", age=36)
    older = attrs.evolve(user, age=37)
    assert (older.id, older.age, user.age) == (7, 37, 36)
    assert attrs.asdict(user) == {"id": 7, "name": "Ada", "age": 36, "email": None, "active": True, "manager_id": None}
    assert [field.name for field in attrs.fields(unchecked(User))] == list(model_of(User).by_attribute)
    assert attrs.fields(unchecked(User)).age.type is int


def test_objects_are_equal_by_class_and_values() -> None:
    assert User(name="Ada", age=36) == User(name="Ada", age=36)
    assert User(name="Ada", age=36) != User(name="Ada", age=37)
    assert unchecked(City)(name="x") != unchecked(User)(name="x", age=1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(User(name="Ada", age=36))


def test_frozen_objects_are_hashable_and_do_not_change() -> None:
    assert {Point(x=1, y=2): "a"}[Point(x=1, y=2)] == "a"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        unchecked(Point(x=1, y=2)).x = 3
    assert model_of(Point).frozen


def test_constructors_take_names_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        unchecked(User)("Ada", 36)
    with pytest.raises(TypeError, match="age"):
        unchecked(User)(name="Ada")


def test_default_factories_make_a_value_for_each_object() -> None:
    first, second = (Order(user_id=1, total=decimal.Decimal(1)) for _ in range(2))
    first.tags.append("x")
    assert second.tags == []


def test_abstract_bases_share_columns_and_methods() -> None:
    city = City(name="Bath")
    assert city.shout() == "BATH!"
    assert list(model_of(City).by_attribute) == ["name", "id", "changed_at", "people"]
    assert City.changed_at.source.table == "cities"
    assert isinstance(city, Stamped)
    assert city.changed_at is None
    with pytest.raises(UnknownColumn, match="Stamped is abstract"):
        str(Stamped.id)
    with pytest.raises(ModelError, match="abstract and has no table"):
        model_of(Stamped)
    with pytest.raises(ModelError, match="no model"):
        model_of(int)


def test_the_record_of_a_model() -> None:
    info = model_of(Line)
    assert info.model is Line
    assert info.table_name == "order_lines"
    assert [field.attribute for field in info.primary_key] == ["order_id", "number"]
    assert [field.attribute for field in info.writable] == ["order_id", "number", "article", "amount", "price"]
    assert info.by_attribute["sum"].computed
    assert model_of(User).by_attribute["id"].generated
    assert model_of(Order).by_attribute["created_at"].has_server_default
    assert model_of(User) is model_of(User)


class Colour(enum.Enum):
    RED = "red"
    DARK_BLUE = 2


class Everything(Model, table="everything"):
    key: Column["int"] = column(primary_key=True, name="id", type=INTEGER)
    colours: Column[list[Colour]] = column(default_factory=list)
    numbers: Column[list[int] | None] = column(default=None)
    data: Column[dict[str, int]] = column(default_factory=dict)
    anything: Column[Json | None] = column(default=None)
    shape: Column[tuple[int, int]] = column(type=JSONB, default=(1, 2))
    limit: ClassVar[int] = 5
    note: "ClassVar[str]" = "x"


def test_annotations_become_types() -> None:
    types = {field.name: (field.type, field.nullable) for field in model_of(Everything).fields}
    assert types == {
        "id": (INTEGER, False),
        "colours": (array_of(enum_type(Colour)), False),
        "numbers": (array_of(BIGINT), True),
        "data": (JSONB, False),
        "anything": (JSONB, True),
        "shape": (JSONB, False),
    }
    assert Everything.key.name == "id"
    assert Everything.limit == 5
    assert tuple(enum_type(Colour).labels) == ("red", "DARK_BLUE")
    assert enum_type(Colour) is enum_type(Colour)
    assert enum_type(Colour, name="hue").name == "hue"


def test_models_in_functions_see_local_names() -> None:
    class Size(enum.Enum):
        SMALL = "s"

    class Shirt(Model, table="shirts"):
        id: "Column[int]" = column(primary_key=True)
        size: "Column[Size]"

    assert model_of(Shirt).by_attribute["size"].type.enum is Size


def test_a_column_cannot_be_replaced_on_its_class() -> None:
    with pytest.raises(ModelError, match="cannot be replaced"):
        unchecked(User).age = 3


# Declarations that cannot work. Each is a function, since making the class is what fails.


def plain_annotation() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = column(primary_key=True)
        age: int


def no_table() -> None:
    class _Wrong(Model):
        id: Column[int] = column(primary_key=True)


def table_and_abstract() -> None:
    class _Wrong(Model, table="x", abstract=True):
        id: Column[int] = column(primary_key=True)


def no_columns() -> None:
    class _Wrong(Model, table="x"):
        pass


def no_key() -> None:
    class _Wrong(Model, table="x"):
        name: Column[str]


def nullable_key() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int | None] = column(primary_key=True)


def generated_text() -> None:
    class _Wrong(Model, table="x"):
        id: Column[str] = column(primary_key=True, generated=True)


def unknown_type() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = column(primary_key=True)
        thing: Column[object]


def union() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = column(primary_key=True)
        thing: Column[int | str]


def other_type() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = column(primary_key=True, type=TEXT)


def wrong_default() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = column(primary_key=True)
        age: Column[int] = column(default=unchecked("x"))


def none_default() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = column(primary_key=True)
        age: Column[int] = column(default=unchecked(None))


def shared_default() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = column(primary_key=True)
        tags: Column[list[str]] = column(default=[])


def two_defaults() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = unchecked(column)(primary_key=True, default=1, default_factory=int)


def two_fillers() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = unchecked(column)(primary_key=True, generated=True, server_default=1)


def plain_value() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = column(primary_key=True)
        age: Column[int] = unchecked(5)


def no_annotation() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = column(primary_key=True)
        age = unchecked(column)()


def reserved() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = column(primary_key=True)
        _hidden: Column[int]


def same_column() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = column(primary_key=True)
        other: Column[int] = column(name="id")


def long_name() -> None:
    class _Wrong(Model, table="x" * 64):
        id: Column[int] = column(primary_key=True)


def long_column() -> None:
    class _Wrong(Model, table="x"):
        id: Column[int] = column(primary_key=True, name="x" * 64)


def child_of_a_table() -> None:
    class _Wrong(User, table="x"):
        pass


def missing_name() -> None:
    class _Wrong(Model, table="x"):
        id: "Column[Nowhere]" = column(primary_key=True)  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable, reportUnknownVariableType] - the mistake under test


DECLARED_WRONG: list[tuple[Callable[[], None], str]] = [
    (plain_annotation, r"right: age: Column\[int\]"),
    (no_table, r'class _Wrong\(Model, table="_wrongs"\)'),
    (table_and_abstract, "keep one"),
    (no_columns, "has no columns"),
    (no_key, "has no primary key"),
    (nullable_key, r"drop `\| None`"),
    (generated_text, "whole numbers only"),
    (unknown_type, "no PostgreSQL type is known"),
    (union, "no PostgreSQL type is known"),
    (other_type, r"annotate Column\[str\]"),
    (wrong_default, "its default is a str"),
    (none_default, r"annotate it with `\| None`"),
    (shared_default, "default_factory=list"),
    (two_defaults, "default and default_factory"),
    (two_fillers, "more than one of"),
    (plain_value, r"column\(default=\.\.\.\)"),
    (no_annotation, "no annotation"),
    (reserved, "is reserved"),
    (same_column, "have the same column"),
    (long_name, "1 to 63 bytes"),
    (long_column, "1 to 63 bytes"),
    (child_of_a_table, r"Base\(Model, abstract=True\)"),
    (missing_name, "cannot be looked up"),
]


@pytest.mark.parametrize(("declare", "message"), DECLARED_WRONG, ids=[case[0].__name__ for case in DECLARED_WRONG])
def test_refuses_the_declaration(declare: Callable[[], None], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        declare()
    assert "To fix it" in str(caught.value)


def test_refuses_enums_that_no_type_can_hold() -> None:
    class Nothing(enum.Enum):
        pass

    class Flags(enum.Flag):
        A = 1

    class Same(enum.Enum):
        A = "B"
        B = 2

    for members, message in ((Nothing, "no members"), (Flags, "several of its members"), (Same, "cannot be a label")):
        with pytest.raises(ModelError, match=message):
            enum_type(members)
    with pytest.raises(ModelError, match="no array of"):
        array_of(array_of(BIGINT))


def test_hints_of_a_model_are_its_annotations() -> None:
    assert typing.get_type_hints(User)["age"] == Column[int]
