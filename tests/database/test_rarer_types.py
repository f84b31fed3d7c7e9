"""The rarer types go to the server and come back as they were: by insert, as bind values, by COPY; arrays of them, and NULL."""

import datetime
import decimal
import ipaddress
import string
from typing import Any, Literal, TypeVar, get_args

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.database.rarities import EXTENSIONS, Address, Colour, Copied, Corner, ManyRarities, NoRarity, Rarity, Visit
from tests.query.shop import unchecked
from trioorm import (
    INT4RANGE,
    JSONB,
    BindError,
    Database,
    Interval,
    Model,
    ModelError,
    Multirange,
    QueryError,
    Range,
    TsQuery,
    TsVector,
    coalesce,
    composite_type,
    delete,
    literal,
    open_database,
    range_type,
    ranges,
    search,
    select,
    sql,
)
from trioorm.errors import CheckViolation, DataError
from trioorm.expression import SqlType
from trioorm.expression.values import Bounds
from trioorm.model import model_of

T = TypeVar("T")

_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
_cents = st.integers(1, 10**9).map(lambda cents: decimal.Decimal(cents) / 100)
_moment = st.datetimes(datetime.datetime(1000, 1, 1), datetime.datetime(9000, 1, 1), timezones=st.just(datetime.UTC))
_clock = st.datetimes(datetime.datetime(1000, 1, 1), datetime.datetime(9000, 1, 1))
_offset = st.integers(-15 * 60, 15 * 60).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))
_int4 = st.integers(-(2**31), 2**31 - 2)
_int8 = st.integers(-(2**63), 2**63 - 2)
_float4 = st.floats(width=32, allow_nan=False)
_letters = st.text(string.ascii_letters, min_size=3, max_size=3)
_interval = st.builds(Interval, st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), st.integers(-(10**12), 10**12))
_interfaces = st.ip_addresses(v=4).map(lambda address: ipaddress.IPv4Interface(f"{address}/17")) | st.ip_addresses(v=6).map(
    lambda address: ipaddress.IPv6Interface(f"{address}/60")
)
_networks = _interfaces.map(lambda interface: interface.network)
_colour = st.none() | st.sampled_from(Colour)


def _ranges(bounds: st.SearchStrategy[Any], *, only: str | None = None) -> st.SearchStrategy[Range[Any]]:
    """Ranges as PostgreSQL gives them back: of whole numbers and dates in one form only, `[)`."""
    kinds = st.just(only) if only is not None else st.sampled_from(get_args(Bounds))

    def make(low: Any, high: Any, kind: Bounds) -> Range[Any]:  # noqa: ANN401 - whatever can be compared
        if low is None or high is None:
            return Range(low, high, kind)
        return Range.empty() if low == high else Range(min(low, high), max(low, high), kind)

    return st.builds(make, st.none() | bounds, st.none() | bounds, kinds)


def _multiranges(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Multirange[Any]]:
    """Multiranges as PostgreSQL gives them back: in order, with gaps between."""

    def make(ends: list[Any]) -> Multirange[Any]:
        pairs = sorted(ends)[: len(ends) // 2 * 2]
        return Multirange(Range(pairs[at], pairs[at + 1]) for at in range(0, len(pairs), 2))

    return st.builds(make, st.lists(values, max_size=6, unique=True))


_colour_ranges = st.just(Range(Colour.RED, Colour.SEA_GREEN, "[]")) | st.builds(Range, st.just(Colour.RED)) | st.just(Range[Colour].empty())
_pairs = st.dictionaries(_text, st.none() | _text, max_size=3)
_vector = st.lists(_float4.filter(lambda number: abs(number) < 1e30), min_size=3, max_size=3)
_address = st.builds(Address, _text, st.none() | _int8, _cents)
_corner = st.builds(Corner, _text, _colour, st.lists(_text, max_size=3))
_visit: st.SearchStrategy[Visit] = st.deferred(
    lambda: st.builds(
        Visit,
        st.uuids(),
        st.dates(),
        _moment,
        st.sampled_from(Colour),
        st.lists(_address, max_size=2),
        st.dictionaries(_text, st.none() | _address, max_size=2),
        st.none() | _visit,
    )
)
_rarity = st.builds(
    Rarity,
    key=st.just(0),
    exact=_cents,
    real=_float4,
    short=_text.map(lambda text: text[:5]),
    code=_letters,
    folded=_text,
    bits=st.text("01", min_size=10, max_size=10),
    flags=st.text("01", max_size=20),
    clock=_clock,
    opens=st.times(timezones=_offset),
    span=_interval,
    address=st.ip_addresses() | _interfaces,
    network=_networks,
    hardware=st.binary(min_size=6, max_size=6).map(lambda data: data.hex(":")),
    hardware8=st.binary(min_size=8, max_size=8).map(lambda data: data.hex(":")),
    pairs=_pairs,
    vector=_vector,
    small=_ranges(_int4, only="[)"),
    whole=_ranges(_int8, only="[)"),
    exacts=_ranges(_cents),
    days=_ranges(st.dates(max_value=datetime.date(9000, 1, 1)), only="[)"),
    clocks=_ranges(_clock),
    moments=_ranges(_moment),
    smalls=_multiranges(_int4),
    wholes=_multiranges(_int8),
    holidays=_multiranges(st.dates(max_value=datetime.date(9000, 1, 1))),
    shifts=_multiranges(_moment),
    floats=_ranges(st.floats(allow_nan=False)),
    hours=_ranges(st.times()),
    names=_ranges(_text.filter(bool)),
    colours=_colour_ranges,
    prices=_ranges(_cents),
    shifts_of_day=_multiranges(st.times()),
    home=_address,
    corner=_corner,
    price=_cents,
    note=_text,
    visit=_visit,
    places=st.lists(_address, max_size=3),
    upper=st.text(string.ascii_uppercase, max_size=5),
)


def _several(values: st.SearchStrategy[T]) -> st.SearchStrategy[list[T]]:
    return st.lists(values, max_size=3)


_many = st.builds(
    ManyRarities,
    key=st.just(0),
    exact=_several(_cents),
    real=_several(_float4),
    short=_several(_text.map(lambda text: text[:5])),
    code=_several(_letters),
    folded=_several(_text),
    bits=_several(st.text("01", min_size=10, max_size=10)),
    clock=_several(_clock),
    opens=_several(st.times(timezones=_offset)),
    span=_several(_interval),
    address=_several(st.ip_addresses() | _interfaces),
    network=_several(_networks),
    hardware=_several(st.binary(min_size=6, max_size=6).map(lambda data: data.hex(":"))),
    pairs=_several(_pairs),
    vector=_several(_vector),
    whole=_several(_ranges(_int8, only="[)")),
    moments=_several(_ranges(_moment)),
    wholes=_several(_multiranges(_int8)),
    floats=_several(_ranges(st.floats(allow_nan=False))),
    colours=_several(_colour_ranges),
    home=_several(_address),
    corner=_several(_corner),
    note=_several(_text),
)


async def _prepare(db: Database, model: type[Model]) -> None:
    """Make the table once for all examples of one test."""
    there = await db.fetch_value(sql("SELECT to_regclass({name}) IS NOT NULL", name=model_of(model).table_name).returns(bool))
    if not there:
        await db.create_schema(*EXTENSIONS, model)
    await db.execute(delete(model).everywhere())


async def _finds(db: Database, model: type[Model], row: Model) -> bool:
    """Whether a condition on every column finds the row: a value that was packed otherwise than stored would not."""
    fields = model_of(model).fields
    statement = select(fields[0].column).where(
        *(
            field.column.is_not_null() if field.type.name in ("hstore", "hstore[]") else field.column == getattr(row, field.attribute)
            for field in fields
            if getattr(row, field.attribute) is not None
        )
    )
    return await db.fetch_all(statement) == [0]


@hypothesis.settings(max_examples=20)
@hypothesis.given(row=_rarity)
async def test_objects_of_the_rarer_types(dsn: str, row: Rarity) -> None:
    async with open_database(dsn, max_size=1) as db:
        await _prepare(db, Rarity)
        assert await db.insert(row) == row
        assert await _finds(db, Rarity, row)
        await db.execute(delete(Rarity).everywhere())
        assert await db.insert_many([row]) == [row]
        assert await db.update(row) == row
        await db.delete(row)
        with pytest.raises(QueryError, match=r"Rarity\.corner is corner, which cannot travel by COPY"):
            await db.copy_in(Rarity, [row])


@hypothesis.settings(max_examples=15)
@hypothesis.given(row=_many)
async def test_arrays_of_the_rarer_types(dsn: str, row: ManyRarities) -> None:
    async with open_database(dsn, max_size=1) as db:
        await _prepare(db, ManyRarities)
        assert await db.insert(row) == row
        assert await _finds(db, ManyRarities, row)


async def test_none_of_the_rarer_types(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        await _prepare(db, NoRarity)
        assert await db.insert(NoRarity(key=0)) == NoRarity(key=0)
        full = NoRarity(
            key=1, span=Interval(1, 2, 3), address=ipaddress.ip_address("::1"), pairs={"a": None}, vector=[1, 2, 3], whole=Range(1, 3),
            wholes=Multirange([Range(1, 3)]), home=Address("x"), words=TsVector("'a':1A 'b''c':2,3"), query=TsQuery("'a' & 'b'"),
        )  # fmt: skip
        assert await db.insert(full) == full
        some = [NoRarity(key=key, address=full.address, whole=Range(None, 3), vector=[0.5, 1, 2], home=full.home) for key in (2, 3)]
        assert await db.insert_many(some) == some


async def test_copies_of_what_has_a_binary_form(dsn: str) -> None:
    rows = [
        Copied(
            key=1, address=ipaddress.ip_address("10.0.0.1"), pairs=[{"a": None}, {}], vectors=[[1, 2, 3]], floats=Range(0.5, None),
            colours=Range(Colour.RED, Colour.SEA_GREEN), home=Address("x", None),
        ),
        Copied(
            key=2, address=ipaddress.ip_network("::/64")[1], pairs=[], vectors=[[0.5, -1, 2], [0, 0, 0]], floats=Range.empty(),
            colours=Range(None, Colour.RED, "(]"), home=Address("y", 5),
        ),
    ]  # fmt: skip
    async with open_database(dsn, max_size=1) as db:
        await _prepare(db, Copied)
        assert await db.copy_in(Copied, rows) == 2
        assert await db.fetch_all(select(Copied).order_by(Copied.key)) == rows


async def test_operators_of_ranges_over_types_of_ones_own(dsn: str) -> None:
    own = NoRarity(key=1, floats=Range(1.5, 4.0))
    async with open_database(dsn, max_size=1) as db:
        await _prepare(db, NoRarity)
        await db.insert(own)
        asked = select(
            NoRarity.floats.contains(2.5),
            NoRarity.floats.contains(Range(2.0, 3.0)),
            NoRarity.floats.overlaps(Range(None, 1.0)),
            NoRarity.floats.contained_by(Multirange([Range(0.0, 2.0), Range(2.0, 9.0)])),
            ranges.adjacent(NoRarity.floats, Range(4.0, 5.0)),
            ranges.lower(NoRarity.floats),
        )
        assert await db.fetch_all(asked) == [(True, True, False, True, True, 1.5)]
        floats = coalesce(NoRarity.floats, Range(0.0, 0.0))
        several = ranges.multirange(floats)
        merged = select(ranges.aggregate(NoRarity.floats), ranges.span(several), several, several - several).group_by(floats)
        whole = Multirange([Range(1.5, 4.0)])
        assert await db.fetch_all(merged) == [(whole, own.floats, whole, Multirange([]))]
    with pytest.raises(QueryError, match="cannot meet"):
        Rarity.floats.overlaps(unchecked(Rarity.hours))


@pytest.mark.parametrize("subtype", [INT4RANGE, JSONB, composite_type(Address)], ids=lambda kind: kind.name)
def test_no_range_over_what_has_none(subtype: SqlType) -> None:
    with pytest.raises(ModelError, match=f"A range over {subtype.name} is none"):
        range_type("x", subtype)


@pytest.mark.parametrize(
    "written",
    [
        "'fat' & 'cat'", "'fat' | 'cat' & !'rat'", "( 'fat' | 'cat' ) & 'rat'", "'a' <-> 'b' <2> 'c'", "!( 'a' & 'b' )", "'a':*AB",
        "'it''s' & 'back\\\\slash'", "'a' <-> ( 'b' <-> 'c' )", "!'a' <-> 'b'", "( 'a' & 'b' ) <-> 'c'", "",
    ],
)  # fmt: skip
async def test_a_tsquery_comes_back_as_postgresql_writes_it(dsn: str, written: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        text, value = await db.fetch_one(sql("SELECT {query}::text, {query}", query=literal(TsQuery(written))).returns(str, TsQuery))
        assert (value, text) == (text, written)


@hypothesis.settings(max_examples=15)
@hypothesis.given(document=_text, label=st.sampled_from(["A", "B", "C", "D"]))
async def test_a_tsvector_comes_back_as_postgresql_writes_it(dsn: str, document: str, label: Literal["A", "B", "C", "D"]) -> None:
    words = search.to_tsvector(f"{document} it's a\\b {document}", language="simple")
    vector = search.setweight(words, label) + search.to_tsvector("more", language="simple")
    async with open_database(dsn, max_size=1) as db:
        value, text = await db.fetch_one(select(vector, sql("{vector}::text", vector=vector).as_type(str)))
    assert value == text


async def test_a_domain_refuses_what_its_check_does(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        await _prepare(db, Rarity)
        with pytest.raises(CheckViolation):
            await db.fetch_value(sql("SELECT {price}::positive", price=decimal.Decimal(-1)).returns(decimal.Decimal))
        await db.drop_schema(Rarity)


async def test_json_that_is_no_such_object_is_a_named_error(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        await _prepare(db, NoRarity)
        await db.execute(sql("INSERT INTO no_rarities (key, visit) VALUES (7, '{{\"id\": 5}}')"))
        with pytest.raises(DataError, match="a jsonb value is no Visit"):
            await db.get(NoRarity, 7)


_REFUSED: list[tuple[str, object]] = [
    ("clock", datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)),
    ("opens", datetime.time(1)),
    ("hardware", "not an address"),
    ("bits", "012"),
    ("vector", [1.0, "x"]),
    ("pairs", {"a": 1}),
    ("whole", Range(1.5, 2)),
    ("floats", Range("a", "b")),
    ("hours", Range(datetime.time(1, tzinfo=datetime.UTC))),
    ("whole", Multirange([Range(1, 2)])),
    ("address", "10.0.0.1"),
    ("home", ("x", 1)),
    ("moments", Range(datetime.datetime(2020, 1, 1))),
]


@pytest.mark.parametrize(("attribute", "value"), _REFUSED, ids=[f"{name} {type(value).__name__}" for name, value in _REFUSED])
async def test_what_does_not_fit_is_refused_before_it_is_sent(dsn: str, attribute: str, value: object) -> None:
    column = model_of(Rarity).by_attribute[attribute].column
    async with open_database(dsn, min_size=0) as db:
        with pytest.raises((BindError, QueryError)) as caught:
            await db.fetch_all(select(Rarity.key).where(column == value))
        assert db.statistics().pool_size == 0
    assert "To fix it" in str(caught.value)
    assert "not an address" not in str(caught.value)
