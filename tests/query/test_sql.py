"""SQL of one's own: what is bound, what is rendered, what is refused."""

from collections.abc import Callable

import psycopg
import pytest

from tests.query.shop import Status, User, run, unchecked
from trioorm.compiler import ModelResult, RowResult, ValueResult, compile_statement, shape_and_values
from trioorm.errors import QueryError
from trioorm.expression import BIGINT, TEXT
from trioorm.query import insert, select, sql

Shop = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def filled(shop: Shop) -> Shop:
    """Ada (36) and Bob (17)."""
    run(shop, insert(User).values(User(name="Ada", age=36), User(name="Bob", age=17)))
    return shop


def test_values_are_bound_and_expressions_rendered(filled: Shop) -> None:
    statement = sql(
        "SELECT {column}, {number} + {number} FROM {table} WHERE {condition} AND name <> 'it''s {{x}}' -- {{y}}",
        column=User.name,
        number=3,
        table=User,
        condition=User.age > 18,
    )
    assert compile_statement(statement).text == (
        'SELECT "users"."name", $1 + $2 FROM "users" WHERE ("users"."age" > $3) AND name <> \'it\'\'s {x}\' -- {y}'
    )
    assert shape_and_values(statement)[1] == [3, 3, 18]
    assert run(filled, statement) == [("Ada", 6)]


def test_a_whole_statement_gives_tuples_unless_told_otherwise(filled: Shop) -> None:
    plain = sql("SELECT count(*), max(name) FROM users")
    assert [type(result) for result in compile_statement(plain).results] == [RowResult]
    typed = plain.returns(int, str)
    assert compile_statement(typed).results == (ValueResult(BIGINT), ValueResult(TEXT))
    assert compile_statement(typed).text == "SELECT count(*), max(name) FROM users"
    assert run(filled, typed) == [(2, "Bob")]
    assert compile_statement(plain.returns(int)).scalar


def test_a_model_is_found_by_the_names_of_its_columns(filled: Shop) -> None:
    statement = sql("SELECT *, 1 AS more FROM users WHERE age > {least} ORDER BY age -- all", least=1).returns(User)
    compiled = compile_statement(statement)
    assert compiled.results == (ModelResult(User, ("id", "name", "age", "email", "active", "manager_id"), optional=False),)
    assert [row[1] for row in run(filled, statement)] == ["Bob", "Ada"]
    changed = sql("UPDATE users SET age = age + {years} RETURNING active, name, age, id, manager_id, email", years=1).returns(User)
    assert [row[2] for row in run(filled, changed)] == [37, 18]


def test_a_fragment_stands_in_parentheses(filled: Shop) -> None:
    statement = select(User.name).where(sql("age > {least} OR false", least=18), User.active)
    assert str(statement) == 'SELECT "users"."name"\nFROM "users"\nWHERE (age > $1 OR false) AND "users"."active"'
    assert run(filled, statement) == [("Ada",)]
    commented = select(User.name).where(sql("age > {least} -- grown", least=18), User.active)
    assert run(filled, commented) == [("Ada",)]
    assert run(filled, select(sql("length({name})", name=User.name).as_type(int)).from_(User)) == [(3,), (3,)]
    assert run(filled, select(User.name).where(User.id.in_(sql("SELECT id FROM users WHERE name = {name}", name="Bob")))) == [("Bob",)]


def test_only_marked_text_may_be_repeated() -> None:
    unmarked = compile_statement(sql("SELECT 1"))
    assert unmarked.is_write
    assert not unmarked.may_repeat
    marked = compile_statement(sql("SELECT 1").reads_only())
    assert not marked.is_write
    assert marked.may_repeat
    assert compile_statement(sql("SELECT 1").reads_only().returns(int)).may_repeat
    assert compile_statement(sql("SELECT 1").returns(int).reads_only()).may_repeat
    inside = compile_statement(select(User).where(sql("random() > 1")))
    assert inside.is_write  # unknown SQL may do anything, wherever it stands
    assert not inside.may_repeat


def test_none_is_null_and_enums_are_their_labels(filled: Shop) -> None:
    assert run(filled, sql("SELECT {nothing} IS NULL, {status}::text", nothing=None, status=Status.SENT)) == [(True, "sent off")]


def test_one_shape_for_all_values() -> None:
    assert sql("SELECT {x}", x=1).shape == sql("SELECT {x}", x=2).shape
    assert sql("SELECT {x}", x=1).shape != sql("SELECT {x}", x="1").shape
    assert sql("SELECT {x}", x=1).shape != sql("SELECT  {x}", x=1).shape


REFUSED: list[tuple[str, Callable[[], object], str]] = [
    ("missing", lambda: sql("SELECT {x}"), r"No value was given for \{x\}"),
    ("unused", lambda: sql("SELECT 1", x=1), "No gap is there for x"),
    ("in quotes", lambda: sql("SELECT '{x}'", x=1), "stands inside quotes"),
    ("in escaped quotes", lambda: sql(r"SELECT E'\'{x}'", x=1), "stands inside quotes"),
    ("in a name", lambda: sql('SELECT "{x}"', x=1), "stands inside quotes"),
    ("in a comment", lambda: sql("SELECT 1 -- {x}", x=1), "stands inside a comment"),
    ("in a long comment", lambda: sql("SELECT 1 /* {x} */", x=1), "stands inside a comment"),
    ("in dollar quotes", lambda: sql("SELECT $$ {x} $$", x=1), "stands inside quotes"),
    ("in tagged dollar quotes", lambda: sql("SELECT $a$ {x} $a$", x=1), "stands inside quotes"),
    ("own number", lambda: sql("SELECT $1"), r"\$1 in a sql\(\) would clash"),
    ("format", lambda: sql("SELECT {x!r}", x=1), "no name of a value"),
    ("position", lambda: sql("SELECT {}"), "no name of a value"),
    ("open brace", lambda: sql("SELECT {x", x=1), "no partner"),
    ("open quote", lambda: sql("SELECT 'x"), "no partner"),
    ("no text", lambda: sql(unchecked(b"SELECT 1")), "got a bytes"),
    ("unknown class", lambda: sql("SELECT {x}", x=object()), "No PostgreSQL type is known"),
    ("two models", lambda: sql("SELECT 1").returns(User, User), "no PostgreSQL type is known"),
    ("nul", lambda: sql("SELECT \0"), "NUL"),
]


@pytest.mark.parametrize(("build", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refuses(build: Callable[[], object], message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        build()
    assert "\nTo fix it" in str(caught.value)
