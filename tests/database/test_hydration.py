"""Hydration: what rows become, whichever way their columns travel."""

import datetime
import decimal
import enum
import gc
import json
import sys
import uuid
from typing import Any, LiteralString, NamedTuple, cast

import hypothesis
import psycopg
import pytest
from hypothesis import strategies as st
from psycopg.pq import Format

from tests.database.zoo import Everything
from trioorm import (
    Column,
    Json,
    JsonCodec,
    Model,
    QueryError,
    Select,
    Statement,
    column,
    delete,
    open_database,
    optional,
    select,
    sql,
)
from trioorm.database.columns import column_of
from trioorm.database.plan import PlanCache
from trioorm.errors import DataError
from trioorm.expression import JSONB


class Grade(enum.Enum):
    GOOD = "good"
    BAD = "b,a\\d"


class Priced(Model, table="priced"):
    """Columns that are the same in text whatever the session says, one of them cheaper so."""

    id: Column[int] = column(primary_key=True)
    price: Column[decimal.Decimal]
    name: Column[str | None] = column(default=None)
    seen: Column[bool | None] = column(default=None)
    token: Column[uuid.UUID | None] = column(default=None)
    grade: Column[Grade | None] = column(default=None)
    more: Column[Json | None] = column(default=None)


_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_number = st.integers(-(10**40), 10**40) | st.integers(-5, 5)
_json = st.recursive(
    st.none() | st.booleans() | _number | st.floats(-1e15, 1e15) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=5,
)
_exact = st.decimals(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [decimal.Decimal(word) for word in ("Infinity", "1.10", "-0.000")]
)
_priced = st.builds(
    Priced,
    id=st.just(0),
    price=_exact.filter(lambda exact: exact.is_infinite() or -1000 < exact.adjusted() < 1000),
    name=st.none() | _text,
    seen=st.none() | st.booleans(),
    token=st.none() | st.uuids(),
    grade=st.none() | st.sampled_from(Grade),
    more=_json,
)


def _format_of(statement: Statement[Any]) -> Format:
    return PlanCache().plan(statement)[0].statement.result_format


def test_the_format_is_chosen_by_the_columns() -> None:
    assert _format_of(select(Priced)) is Format.TEXT, "a numeric is cheaper so"
    assert _format_of(select(Priced.id, Priced.more)) is Format.BINARY, "nothing is"
    select_many: Any = select
    assert _format_of(select_many(*[Priced.token] * 12, Priced.price)) is Format.BINARY, "it would cost more than it saves"
    assert _format_of(select(Everything)) is Format.BINARY, "dates depend on a setting of the session"
    assert _format_of(select(Everything.exact, Everything.double)) is Format.BINARY, "so do floats"
    assert _format_of(sql("SELECT 1.5")) is Format.BINARY, "the types are not known"


def _digits(exact: decimal.Decimal) -> str:
    """With its trailing zeros; numeric has no -0."""
    return f"{exact or exact.copy_abs():f}"


@hypothesis.settings(max_examples=60)
@hypothesis.given(made=st.lists(_priced, min_size=1, max_size=4))
async def test_values_that_travel_as_text(dsn: str, made: list[Priced]) -> None:
    for number, row in enumerate(made):
        row.id = number
    async with open_database(dsn, max_size=1) as db:
        if not await db.fetch_value(sql("SELECT to_regclass('priced') IS NOT NULL").returns(bool)):
            await db.create_schema(Priced)
        await db.execute(delete(Priced).everywhere())
        assert await db.insert_many(made) == made
        found = await db.fetch_all(select(Priced).order_by(Priced.id))
        assert found == made
        assert [_digits(row.price) for row in found] == [_digits(row.price) for row in made]
        assert await db.fetch_all(select(Priced.price, Priced.more).order_by(Priced.id)) == [(row.price, row.more) for row in made]
        async with db.stream(select(Priced).order_by(Priced.id), batch_rows=2) as stream:
            assert [row async for row in stream] == made


_SETTINGS = ("DateStyle = 'SQL, DMY'", "extra_float_digits = -5", "bytea_output = escape", "IntervalStyle = sql_standard")


async def test_no_setting_of_the_session_changes_a_value(dsn: str) -> None:
    priced = Priced(id=1, price=decimal.Decimal("1.10"), name="a", seen=True, token=uuid.UUID(int=7), grade=Grade.BAD, more=[0.1 + 0.2])
    async with open_database(dsn, max_size=1) as db:
        for setting in _SETTINGS:
            await db.execute(sql(f"SET {setting}"))
        kinds = (datetime.date, datetime.datetime, float, bytes, datetime.timedelta, decimal.Decimal)
        text = (
            "SELECT date '2020-02-01', timestamptz '2020-02-01 03:00Z', 0.1::float8 + 0.2, '\\x005cff'::bytea, interval '-1 day +5 s', 1.10"
        )
        assert await db.fetch_one(sql(text).returns(*kinds)) == (
            datetime.date(2020, 2, 1),
            datetime.datetime(2020, 2, 1, 3, tzinfo=datetime.UTC),
            0.1 + 0.2,
            b"\x00\\\xff",
            datetime.timedelta(days=-1, seconds=5),
            decimal.Decimal("1.10"),
        )
        await db.create_schema(Priced)
        assert await db.insert(priced) == priced
        assert await db.fetch_all(select(Priced)) == [priced]


_JSON = cast("type[Any]", dict)


async def _column_of(dsn: str, values: LiteralString) -> list[Any]:
    """The values of a column of jsonb, in a statement of one column and in one of several."""
    values = values.replace("{", "{{").replace("}", "}}")
    async with open_database(dsn, max_size=1) as db:
        alone = await db.fetch_all(sql(f"SELECT held FROM (VALUES {values}) AS rows (held)").returns(_JSON))
        pairs = await db.fetch_all(
            sql(f"SELECT held, 1.5, held FROM (VALUES {values}) AS rows (held)").returns(_JSON, decimal.Decimal, _JSON)
        )
    assert [pair[0] for pair in pairs] == [pair[2] for pair in pairs] == alone
    return list(alone)


_NESTED = 600


_CASES: list[tuple[LiteralString, list[Any]]] = [
    ("(jsonb 'null'), (NULL), ('[]')", [None, None, []]),
    ("(NULL::jsonb)", [None]),
    ("(jsonb '\"\\u0001, ]\"'), ('\",\"'), ('\"]\"')", ["\1, ]", ",", "]"]),
    ("(json ' {\"a\": 1,\n \"a\": 2} '), ('1'), (NULL), ('null')", [{"a": 2}, 1, None, None]),
    ("(jsonb '1e2'), ('1.50'), ('123456789012345678901234567890'), ('true')", [100, 1.5, 123456789012345678901234567890, True]),
    (f"(jsonb '{'[' * _NESTED}{']' * _NESTED}'), ('1')", [json.loads("[" * _NESTED + "]" * _NESTED), 1]),
]


@pytest.mark.parametrize(("values", "expected"), _CASES)
async def test_a_column_of_json_is_as_if_read_one_by_one(dsn: str, values: LiteralString, expected: list[Any]) -> None:
    found = await _column_of(dsn, values)
    assert repr(found) == repr(expected)


async def test_no_rows_of_json(dsn: str) -> None:
    async with open_database(dsn) as db:
        assert await db.fetch_all(sql("SELECT '[]'::jsonb WHERE false").returns(_JSON)) == []


def test_json_that_is_too_deep_for_the_array_is_read_alone() -> None:
    convert = column_of(JSONB).convert
    assert convert is not None

    def deep(depth: int) -> str:
        return "[" * depth + "]" * depth

    def fits(depth: int) -> bool:
        try:
            json.loads(deep(depth))
        except RecursionError:
            return False
        return True

    low, high = 1, 200_000
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    # One level below the deepest, since the converter itself stands on the stack.
    assert convert([deep(low - 10), "1"])[1] == 1
    with pytest.raises(DataError, match="RecursionError"):
        convert(["1", deep(high + 10)])


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        (f"(jsonb '{'9' * 5000}'), ('1')", DataError, "ValueError"),
        ("(text 'a'), ('b')", DataError, "JSONDecodeError"),
        ("(text '1,2'), ('3')", DataError, "JSONDecodeError"),
    ],
)
async def test_what_is_no_json_for_python_is_an_error(dsn: str, values: LiteralString, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        await _column_of(dsn, values)
    assert "999" not in str(caught.value)


class Upper(Model, table="uppers"):
    id: Column[int] = column(primary_key=True)
    word: Column[str | None] = column(json=JsonCodec(str.lower, lambda word: "nothing" if word is None else word.upper()), default=None)


async def test_typed_json_keeps_null_and_the_null_of_json_apart(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Upper)
        await db.execute(sql("INSERT INTO uppers VALUES (1, NULL), (2, 'null'), (3, '\"a\"')"))
        assert [row.word for row in await db.fetch_all(select(Upper).order_by(Upper.id))] == [None, "nothing", "A"]


async def test_a_label_without_a_member_is_an_error(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Priced)
        await db.execute(sql("ALTER TYPE grade ADD VALUE 'new'"))
        await db.execute(sql("INSERT INTO priced (id, price, grade) VALUES (1, 1, 'new')"))
        with pytest.raises(DataError, match="a label 'new', which Grade has no member for"):
            await db.fetch_all(select(Priced))


# Objects.


class Still(Model, table="stills", frozen=True):
    id: Column[int] = column(primary_key=True)
    grade: Column[Grade | None] = column(default=None)


class Watched(Model, table="stills"):
    """One that minds every assignment."""

    id: Column[int] = column(primary_key=True)
    grade: Column[Grade | None] = column(default=None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AssertionError("hydration assigns nothing")


class Base(Model, abstract=True):
    id: Column[int] = column(primary_key=True)
    made: Column[Grade | None] = column(default=None)


class Derived(Base, table="deriveds"):
    """With names that the code of hydration might use."""

    add: Column[str] = column(default="add")
    rows: Column[str] = column(default="rows")
    append: Column[str] = column(default="append")
    o0: Column[str] = column(default="o0")
    a0: Column[str] = column(default="a0")
    a1: Column[str] = column(default="a1")
    v0: Column[str] = column(default="v0")
    m0: Column[str] = column(default="m0")
    next: Column[str] = column(default="next")
    row: Column[str] = column(default="row")


class Pair(NamedTuple):
    one: Still
    other: Derived | None


class Named:
    def __init__(self, *, grade: Grade | None, append: str) -> None:
        self.grade, self.append = grade, append


async def test_objects_of_every_kind(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Still, Derived)
        still = [Still(id=1, grade=Grade.BAD), Still(id=2)]
        assert await db.insert_many(still) == still
        assert hash(await db.get(Still, 1)) == hash(still[0])
        watched = await db.get(Watched, 1)
        assert (watched.id, watched.grade) == (1, Grade.BAD)
        derived = Derived(id=1, made=Grade.GOOD)
        assert await db.insert(derived) == derived
        other = optional(Derived)
        joined = select(Still, other, Still.grade).left_join(Derived, Derived.id == Still.id).order_by(Still.id)
        assert await db.fetch_all(joined) == [(still[0], derived, Grade.BAD), (still[1], None, None)]
        pairs = select(Still, other).left_join(Derived, Derived.id == Still.id).order_by(Still.id)
        assert await db.fetch_all(pairs) == [(still[0], derived), (still[1], None)]
        named = await db.fetch_all(select(Still.grade, Derived.append).join(Derived, Derived.id == Still.id).into(Named))
        assert [(each.grade, each.append) for each in named] == [(Grade.BAD, "append")]
        assert await db.fetch_all(select(Still.grade).order_by(Still.id)) == [Grade.BAD, None]
        assert await db.fetch_all(select(Still.id).order_by(Still.id)) == [1, 2]


async def test_a_row_that_comes_alone_is_as_among_others(dsn: str) -> None:
    """It is made by a function of its own."""
    async with open_database(dsn) as db:
        await db.create_schema(Still, Derived, Priced)
        await db.insert_many([Still(id=1, grade=Grade.BAD), Still(id=2)])
        await db.insert(Derived(id=1, made=Grade.GOOD))
        await db.insert(Priced(id=1, price=decimal.Decimal("1.10"), grade=Grade.BAD, more=[1]))
        other = optional(Derived)
        statements: list[Select[Any]] = [
            select(Still),
            select(Priced),
            select(Derived, Still.id).join(Still, Derived.id == Still.id),
            select(Still, other).left_join(Derived, Derived.id == Still.id),
            select(Still, other).left_join(Derived, Derived.id == Still.id).into(Pair),
            select(Still.grade),
            select(Still.id),
            select(Still.grade, Still.id),
        ]
        for statement in statements:
            ordered = statement.order_by(*([Priced.id] if statement is statements[1] else [Still.id]))
            rows = await db.fetch_all(ordered)
            for number, row in enumerate(rows):
                one = ordered.limit(1).offset(number)
                assert await db.fetch_one(one) == await db.fetch_optional(one) == row
                assert type(await db.fetch_one(one)) is type(row)
        named = await db.fetch_one(select(Still.grade, Derived.append).join(Derived, Derived.id == Still.id).into(Named))
        assert (named.grade, named.append) == (Grade.BAD, "append")
        assert await db.fetch_one(sql("SELECT 7")) == (7,)
        assert await db.fetch_one(sql("SELECT 7, 'a'")) == (7, "a")


async def test_a_column_that_has_become_another_type_is_read_as_that(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Still)
        await db.insert(Still(id=5))
        for kind in ("integer", "smallint", "bigint"):
            await db.execute(sql(f"ALTER TABLE stills ALTER id TYPE {kind}"))
            assert (await db.fetch_all(select(Still)))[0].id == 5


async def test_a_result_is_not_kept_longer_than_its_rows_are_made(dsn: str) -> None:
    plan, _ = PlanCache().plan(sql("SELECT 1").returns(int))
    with psycopg.connect(dsn) as connection:
        result = connection.pgconn.exec_params(b"SELECT 1", None, result_format=Format.BINARY)
        before = sys.getrefcount(result)
        assert plan.rows(result) == [1]
        assert sys.getrefcount(result) == before
        with pytest.raises(QueryError):
            PlanCache().plan(sql("SELECT 1").returns(int, int))[0].rows(result)


class Watcher:
    """Sees whether the collector of cycles is on while rows are made."""

    seen: list[bool]

    def __init__(self, number: int) -> None:
        self.number = number
        if number < 0:
            raise LookupError
        Watcher.seen.append(gc.isenabled())


class Numbered(Model, table="numbereds"):
    number: Column[int] = column(primary_key=True)


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_collector_of_cycles_is_as_it_was(dsn: str, wanted: bool) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Numbered)
        await db.insert_many([Numbered(number=number) for number in range(-1, 200)])
        watched = select(Numbered.number).order_by(Numbered.number.desc()).into(Watcher)
        Watcher.seen = []
        try:
            if not wanted:
                gc.disable()
            await db.fetch_all(watched.limit(200))
            with pytest.raises(LookupError):
                await db.fetch_all(watched)
            assert gc.isenabled() is wanted
        finally:
            gc.enable()
        assert set(Watcher.seen) == {False}, "none is looked for among many rows"
        Watcher.seen = []
        await db.fetch_all(watched.limit(5))
        assert Watcher.seen == [True] * 5
