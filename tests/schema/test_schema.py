"""Tables: their names and order, and the constraints that models declare."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.query.shop import Line, Order, User, unchecked
from trioorm.errors import ModelError
from trioorm.expression import Column
from trioorm.model import Model, column, model_of
from trioorm.schema import (
    ForeignKey,
    Table,
    TableConstraint,
    TableIndex,
    constraint_name,
    creation_order,
    distinct_name,
    foreign_key,
    index,
    shortened,
    unique,
)


def test_names_follow_postgresqls_style() -> None:
    assert constraint_name("users", ("email",), "key") == "users_email_key"
    assert constraint_name("orders", ("user_id",), "fkey") == "orders_user_id_fkey"
    assert constraint_name("users", (), "pkey") == "users_pkey"
    table = model_of(Order).table
    assert [key.name for key in table.foreign_keys] == ["orders_user_id_fkey"]
    assert [found.name for found in table.indexes] == ["orders_user_id_idx", "orders_created_at_idx"]
    assert [check.name for check in table.checks] == ["paid_orders_have_a_moment"]
    assert [check.name for check in model_of(User).table.checks] == ["users_age_check"]
    assert [found.name for found in model_of(Line).table.uniques] == ["order_lines_order_id_article_key"]


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=200))
def test_long_names_are_shortened_to_63_bytes_and_stay_different(name: str) -> None:
    short = shortened(name)
    assert len(short.encode()) <= 63
    assert shortened(name + "x") != short
    if len(name.encode()) <= 63:
        assert short == name


def test_a_name_that_is_taken_gets_a_number() -> None:
    taken: set[str] = set()
    assert [distinct_name("a", taken) for _ in range(3)] == ["a", "a1", "a2"]


def _table(name: str, *targets: str) -> Table:
    keys = tuple(ForeignKey(f"{name}_{target}_fkey", ("x",), target, ("id",)) for target in targets)
    return Table(name, (), f"{name}_pkey", ("id",), foreign_keys=keys)


names = st.sampled_from("abcdefg")


@given(st.dictionaries(names, st.lists(names | st.just("outside"), max_size=3)))
def test_tables_come_after_those_they_refer_to(needs: dict[str, list[str]]) -> None:
    tables = [_table(name, *targets) for name, targets in needs.items()]
    order = creation_order(tables)
    assert sorted(table.name for table in order.tables) == sorted(needs)
    late = {(table.name, key.target_table) for table, key in order.late}
    made: set[str] = set()
    for table in order.tables:
        for key in table.foreign_keys:
            known = key.target_table in made or key.target_table == table.name or key.target_table not in needs
            assert known or (table.name, key.target_table) in late
        made.add(table.name)
    assert creation_order(list(reversed(tables))) == order


def test_only_keys_on_a_circle_are_late() -> None:
    order = creation_order([_table("a", "b"), _table("b", "a", "c", "b"), _table("c"), _table("d", "a")])
    assert [key.name for _, key in order.late] == ["a_b_fkey", "b_a_fkey"]


class Membership(Model, table="memberships"):
    order_id: Column[int] = column(primary_key=True)
    number: Column[int] = column(primary_key=True)
    role: Column[str] = column(index=True)

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        yield foreign_key(cls.order_id, cls.number, references=(Line.order_id, Line.number), on_delete="cascade", deferrable=True)
        yield unique(cls.role, nulls_distinct=False, name="one_of_each")

    @classmethod
    def table_indexes(cls) -> Iterable[TableIndex]:
        yield index(cls.role, cls.number.desc(), unique=True, where=cls.number > 3)


def test_class_methods_declare_what_spans_several_columns() -> None:
    table = model_of(Membership).table
    key = table.foreign_keys[0]
    assert (key.name, key.columns, key.target_table, key.target_columns) == (
        "memberships_order_id_number_fkey",
        ("order_id", "number"),
        "order_lines",
        ("order_id", "number"),
    )
    assert table.uniques[0].name == "one_of_each"
    assert [found.name for found in table.indexes] == ["memberships_role_idx", "memberships_role_number_key"]


def test_references_that_lead_nowhere_are_refused() -> None:
    class Lost(Model, table="lost"):
        id: Column[int] = column(primary_key=True, references=lambda: Nowhere.id)  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable, reportUnknownLambdaType, reportUnknownMemberType] - the mistake under test

    class Vague(Model, table="vague"):
        id: Column[int] = column(primary_key=True, references="users")

    class Different(Model, table="different"):
        id: Column[str] = column(primary_key=True, references=User.id)

    class Unclear(Model, table="unclear"):
        id: Column[int] = column(primary_key=True, references=unchecked(5))

    class Unchecked(Model, table="unchecked"):
        id: Column[int] = column(primary_key=True, check=lambda id_: unchecked(id_ + 1))

    for model, message in (
        (Lost, "not there"),
        (Vague, r"table\.column"),
        (Different, "same type"),
        (Unclear, "no column"),
        (Unchecked, "needs a condition"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            str(model_of(model).table)
        assert "To fix it" in str(caught.value)


def test_constraints_that_cannot_be_are_refused() -> None:
    with pytest.raises(ModelError, match="takes columns"):
        unique(User.age + 1)
    with pytest.raises(ModelError, match="no columns"):
        unique()
    with pytest.raises(ModelError, match="2 columns and 1 to refer to"):
        foreign_key(Line.order_id, Line.number, references=Order.id)
    with pytest.raises(ModelError, match="nothing to index"):
        index()

    class Foreign(Model, table="foreign"):
        id: Column[int] = column(primary_key=True)

        @classmethod
        def table_constraints(cls) -> Iterable[TableConstraint]:
            yield unique(User.age)

    class Misplaced(Model, table="misplaced"):
        id: Column[int] = column(primary_key=True)

        @classmethod
        def table_constraints(cls) -> Iterable[TableConstraint]:
            yield unchecked(index(cls.id))

    with pytest.raises(ModelError, match="a column of another table"):
        str(model_of(Foreign).table)
    with pytest.raises(ModelError, match="table_indexes"):
        str(model_of(Misplaced).table)
