"""Values of every type come back as they went in, by every way in and every way out."""

import datetime
import decimal
import math
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.database.zoo import Everything, Mood, changed
from trioorm import UNSET, Column, Database, Model, column, delete, open_database, select, sql
from trioorm.model import model_of

T = TypeVar("T")

_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_double = st.floats(allow_nan=False)
_exact = st.decimals(allow_nan=False, allow_infinity=False, places=None, min_value=-(10**30), max_value=10**30)
# Offsets and not time zones: Python calls two moments unequal, whatever they are, when one falls into a gap of summer time (PEP 495).
_offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))
_moment = st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9998, 1, 1), timezones=_offsets)
_json_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(-1e15, 1e15)
    | _text,  # beyond, jsonb hands back the digits as an int
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_json = st.dictionaries(_text, _json_value, max_size=3)
_bigint = st.integers(-(2**63), 2**63 - 1)
_mood = st.sampled_from(Mood)


def _several(values: st.SearchStrategy[T]) -> st.SearchStrategy[list[T]]:
    """An array; NULL among the elements is tried by itself below, since no type of ours allows it."""
    return st.lists(values, max_size=4)


_everything = st.builds(
    Everything,
    key=st.just(0),
    small=st.integers(-(2**15), 2**15 - 1),
    whole=st.integers(-(2**31), 2**31 - 1),
    big=_bigint,
    flag=st.booleans(),
    double=_double,
    exact=_exact,
    text=_text,
    data=st.binary(max_size=20),
    day=st.dates(),
    time=st.times(),
    moment=_moment,
    span=st.timedeltas(),
    unique_id=st.uuids(),
    json=_json,
    mood=_mood,
    flags=_several(st.booleans()),
    numbers=_several(_bigint),
    doubles=_several(_double),
    exacts=_several(_exact),
    texts=_several(_text),
    datas=_several(st.binary(max_size=9)),
    days=_several(st.dates()),
    moments=_several(_moment),
    spans=_several(st.timedeltas()),
    unique_ids=_several(st.uuids()),
    moods=_several(_mood),
    no_number=st.none() | _bigint,
    no_text=st.none() | _text,
    no_mood=st.none() | _mood,
    no_moods=st.none() | _several(_mood),
    no_json=st.none() | _json,
)


def _create(dsn: str) -> Callable[[Database], Any]:
    async def create(db: Database) -> None:
        if not await db.fetch_value(sql("SELECT to_regclass('everything') IS NOT NULL").returns(bool)):
            await db.create_schema(Everything)
        await db.execute(delete(Everything).everywhere())

    return create


@hypothesis.settings(max_examples=60)
@hypothesis.given(made=st.lists(_everything, min_size=1, max_size=3))
async def test_objects_of_every_type(dsn: str, made: list[Everything]) -> None:
    rows = [changed(row, key=key) for key, row in enumerate(made)]
    async with open_database(dsn, max_size=2) as db:
        await _create(dsn)(db)

        async def all_there() -> None:
            assert await db.fetch_all(select(Everything).order_by(Everything.key)) == rows
            async with db.stream(select(Everything).order_by(Everything.key), batch_rows=1) as stream:
                assert [row async for row in stream] == rows
            await db.execute(delete(Everything).everywhere())

        assert [await db.insert(row) for row in rows] == rows
        assert await db.get(Everything, 0) == rows[0]
        await all_there()
        assert await db.insert_many(rows) == rows
        assert await db.update(rows[0]) == rows[0]
        assert await db.upsert(rows[0]) == rows[0]
        await all_there()
        assert await db.copy_in(Everything, rows) == len(rows)
        await all_there()


@hypothesis.settings(max_examples=40)
@hypothesis.given(row=_everything)
async def test_bind_values_of_every_type_find_their_row(dsn: str, row: Everything) -> None:
    """A condition on every column at once, so that one that is packed differently from what was stored finds nothing."""
    async with open_database(dsn, max_size=1) as db:
        await _create(dsn)(db)
        await db.insert(row)
        fields = model_of(Everything).fields
        compared = [field for field in fields if getattr(row, field.attribute) is not None]
        statement = select(Everything.key).where(*(field.column == getattr(row, field.attribute) for field in compared))
        assert await db.fetch_all(statement) == [0]


_VALUES: dict[str, st.SearchStrategy[object]] = {
    "bool": st.booleans(),
    "int": _bigint,
    "float": _double,
    "decimal": _exact,
    "str": _text,
    "bytes": st.binary(max_size=20),
    "date": st.dates(),
    "time": st.times(),
    "datetime": _moment,
    "timedelta": st.timedeltas(),
    "uuid": st.uuids(),
    "dict": _json,
    "ints": st.lists(_bigint, min_size=1, max_size=4),
    "texts": st.lists(_text, min_size=1, max_size=4),
    "moments": st.lists(_moment, min_size=1, max_size=4),
}


@hypothesis.settings(max_examples=60)
@hypothesis.given(values=st.fixed_dictionaries(_VALUES))
async def test_values_of_a_sql_text(dsn: str, values: dict[str, object]) -> None:
    async with open_database(dsn, max_size=1) as db:
        row = await db.fetch_one(
            sql(
                "SELECT {bool}, {int}, {float}, {decimal}, {str}, {bytes}, {date}, {time}, {datetime}, {timedelta}, {uuid}, {dict},"
                " {ints}, {texts}, {moments}",
                **values,
            )
        )
    assert dict(zip(_VALUES, row, strict=True)) == values


class Special(Model, table="specials"):
    """Numbers that equal nothing, or everything is less than."""

    key: Column[int] = column(primary_key=True, generated=True, default=UNSET)
    double: Column[float]
    exact: Column[decimal.Decimal]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
async def test_numbers_beyond_all_others(dsn: str, word: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Special)
        row = await db.insert(Special(double=float(word), exact=decimal.Decimal(word)))
        assert repr((row.double, row.exact)) == repr((float(word), decimal.Decimal(word)))
        await db.copy_in(Special, [Special(double=row.double, exact=row.exact)])
        assert len({repr((each.double, each.exact)) for each in await db.fetch_all(select(Special))}) == 1
    assert math.isnan(row.double) == (word == "NaN")


@pytest.mark.parametrize("word", ["-NaN", "NaN17"])
async def test_what_is_no_number_is_sent_without_its_sign_and_digits(dsn: str, word: str) -> None:
    """Alone as among many: PostgreSQL knows one NaN."""
    row = Special(double=0.0, exact=decimal.Decimal(word))
    async with open_database(dsn) as db:
        await db.create_schema(Special)
        rows = [await db.insert(row), *await db.insert_many([row, row])]
        assert [repr(each.exact) for each in rows] == ["Decimal('NaN')"] * 3


async def test_a_moment_comes_back_in_utc(dsn: str) -> None:
    tokyo = datetime.timezone(datetime.timedelta(hours=9))
    moment = datetime.datetime(2020, 1, 1, 3, tzinfo=tokyo)
    async with open_database(dsn) as db:
        back = await db.fetch_value(sql("SELECT {moment}", moment=moment).returns(datetime.datetime))
    assert repr(back) == "datetime.datetime(2019, 12, 31, 18, 0, tzinfo=datetime.timezone.utc)"


async def test_null_among_elements_comes_back_as_none(dsn: str) -> None:
    async with open_database(dsn) as db:
        row = await db.fetch_one(sql("SELECT ARRAY[1, NULL]::bigint[], ARRAY['a', NULL, 'NULL']"))
        assert row == ([1, None], ["a", None, "NULL"])
        assert await db.fetch_one(sql("SELECT {values}", values=["a", None, "NULL", ""])) == (["a", None, "NULL", ""],)


async def test_a_class_derived_from_a_plain_one_is_sent_as_it(dsn: str) -> None:
    class Name(str):
        __slots__ = ()

    class Number(int):
        pass

    class Id(uuid.UUID):
        pass

    given = Id(int=7)
    async with open_database(dsn) as db:
        row = await db.fetch_one(sql("SELECT {name}, {number}, {given}", name=Name("ada"), number=Number(5), given=given))
    assert row == ("ada", 5, uuid.UUID(int=7))
