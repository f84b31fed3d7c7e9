"""Batches of a COPY are packed column by column, and are what packing each value alone gives."""

import datetime
import decimal
import re
import struct
import uuid
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.database.zoo import Animal
from tests.generated import examples
from trioorm import (
    BIGINT,
    BOOLEAN,
    BYTEA,
    DATE,
    DOUBLE,
    INTEGER,
    JSONB,
    NUMERIC,
    REAL,
    SMALLINT,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    UUID,
    VARCHAR,
    BindError,
    QueryError,
    array_of,
)  # fmt: skip
from trioorm.database.catalogue import CopiedColumn
from trioorm.database.codecs import binary_packer_for
from trioorm.database.copy_encoding import Encoder, ObjectEncoder, ValuesEncoder
from trioorm.expression import SqlType
from trioorm.expression.binding import accepts
from trioorm.model import model_of

_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
_VALUES: dict[SqlType, st.SearchStrategy[Any]] = {
    SMALLINT: st.integers(-(2**15), 2**15 - 1),
    INTEGER: st.integers(-(2**31), 2**31 - 1),
    BIGINT: st.integers(-(2**63), 2**63 - 1),
    REAL: st.floats(width=32),
    DOUBLE: st.floats() | st.integers(-(2**60), 2**60),
    BOOLEAN: st.booleans(),
    TEXT: _text,
    VARCHAR: _text,
    NUMERIC: st.decimals(-(10**9), 10**9, places=2)
    | st.decimals(allow_nan=False)
    | st.integers()
    | st.sampled_from([decimal.Decimal("NaN"), decimal.Decimal("-NaN7")]),
    TIMESTAMPTZ: st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9998, 1, 1), timezones=st.timezones()),
    DATE: st.dates(),
    TIME: st.times(),
    TIMESTAMP: st.datetimes(),
    UUID: st.uuids(),
    BYTEA: st.binary(max_size=5),
    JSONB: st.dictionaries(_text, st.integers(), max_size=2),
    array_of(BIGINT): st.lists(st.none() | st.integers(-9, 9), max_size=3),
}


def _column(kind: SqlType) -> CopiedColumn:
    packer = binary_packer_for(kind)
    assert packer is not None
    return CopiedColumn(f"a {kind.name}", kind, packer)


@hypothesis.settings(max_examples=examples(200))
@hypothesis.given(data=st.data())
def test_a_batch_is_what_packing_each_value_alone_gives(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(list(_VALUES)), min_size=1, max_size=6))
    nullable = data.draw(st.tuples(*[st.booleans() for _ in kinds]))
    row = st.tuples(
        *[st.none() | _VALUES[kind] if may_be_null else _VALUES[kind] for kind, may_be_null in zip(kinds, nullable, strict=True)]
    )
    batch = data.draw(st.lists(row, min_size=1, max_size=5))
    columns = [_column(kind) for kind in kinds]
    expected = b""
    for values in batch:
        expected += struct.pack("!h", len(kinds))
        for column, value in zip(columns, values, strict=True):
            packed = None if value is None else column.packer.pack(value)
            expected += struct.pack("!i", -1) if packed is None else struct.pack("!i", len(packed)) + packed
    assert ValuesEncoder("a table", columns).encode(batch) == expected
    assert ValuesEncoder("a table", columns).encode([list(values) for values in batch]) == expected


def _encoder(*kinds: SqlType) -> Encoder:
    return ValuesEncoder("a table", [_column(kind) for kind in kinds])


@pytest.mark.parametrize(
    ("kinds", "batch", "said"),
    [
        ((BIGINT, TEXT), [(1, "a"), (2, "b\0")], r"^column a text of row 2 cannot be sent as text: text in PostgreSQL cannot hold"),
        ((BIGINT, TEXT), [(1, "a"), (2, None), (3, "b\0")], r"^column a text of row 3 cannot be sent as text"),
        ((TEXT, BIGINT), [("a", 2**63)], r"^column a bigint of row 1 cannot be sent as bigint: .* out of its range"),
        ((INTEGER,), [(1,), (2**31,)], r"^column a integer of row 2 cannot be sent as integer: .* out of its range"),
        ((INTEGER,), [(None,), (-(2**31) - 1,)], r"^column a integer of row 2 cannot be sent as integer: .* out of its range"),
        ((SMALLINT,), [(2**15,)], r"^column a smallint of row 1 cannot be sent as smallint: .* out of its range"),
        ((REAL,), [(1e300,)], r"^column a real of row 1 cannot be sent as real"),
        (
            (TIMESTAMP,),
            [(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),)],
            r"^column a timestamp of row 1 cannot be sent as timestamp",
        ),
        ((TEXT,), [("\ud800",)], r"^column a text of row 1 cannot be sent as text"),
        ((NUMERIC,), [(decimal.Decimal("sNaN"),)], r"^column a numeric of row 1 cannot be sent as numeric: a signalling NaN"),
        (
            (TIMESTAMPTZ,),
            [(datetime.datetime(2020, 1, 1),)],
            r"^column a timestamptz of row 1 cannot be sent as timestamptz: the datetime is naive",
        ),
    ],
)
def test_what_does_not_fit_is_named(kinds: tuple[SqlType, ...], batch: list[tuple[object, ...]], said: str) -> None:
    with pytest.raises(BindError, match=said):
        _encoder(*kinds).encode(batch)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (BIGINT, 1, True),
        (BIGINT, 1, 1.0),
        (SMALLINT, 1, "1"),
        (DOUBLE, 1.0, True),
        (DOUBLE, 1, decimal.Decimal(1)),
        (REAL, 1.0, True),
        (REAL, 1, decimal.Decimal(1)),
        (NUMERIC, 1, 0.5),
        (BOOLEAN, True, 1),
        (DATE, datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1)),
        (TIME, datetime.time(1), datetime.timedelta(hours=1)),
        (UUID, uuid.UUID(int=0), "0" * 32),
        (TEXT, "a", b"a"),
        (BYTEA, b"a", bytearray(b"a")),
        (BYTEA, b"a", memoryview(b"a")),
        (BYTEA, b"a", "a"),
        (array_of(BIGINT), [1], 1),
    ],
)
def test_the_classes_that_it_takes_are_those_that_insert_takes(kind: SqlType, good: object, bad: object) -> None:
    assert (accepts(kind, good), accepts(kind, bad)) == (True, False)
    for batch in ([(good,), (bad,)], [(bad,)], [(None,), (bad,)]):
        words = f"A value of class {type(bad).__name__} was given for column a {kind.name} of row {len(batch)}, which is {kind.name} "
        with pytest.raises(QueryError, match=f"^{re.escape(words)}"):
            _encoder(kind).encode(batch)
    assert _encoder(kind).encode([(good,)])


@pytest.mark.parametrize("row", [(1,), (1, "a", 2), "ab", None, {1: 2, 3: 4}], ids=str)
def test_what_is_no_row_is_named(row: object) -> None:
    for batch in ([row], [(1, "a"), row]):
        with pytest.raises(QueryError, match=r"copy_in into a table met an? \w+( of \d)?, where a tuple of 2 is expected"):
            _encoder(BIGINT, TEXT).encode(batch)


def test_objects_that_set_other_columns_are_refused() -> None:
    fields = [field for field in model_of(Animal).writable if field.attribute != "id"]
    encoder = ObjectEncoder(Animal, fields, [_column(field.type) for field in fields])
    rows = [Animal(name="a", age=1), Animal(name="b", age=2)]
    assert encoder.encode(rows) == _encoder(*[field.type for field in fields]).encode([("a", 1, None), ("b", 2, None)])
    rows[1].id = 7
    with pytest.raises(QueryError, match="sets other columns than the first object"):
        encoder.encode(rows)
    with pytest.raises(QueryError, match="copy_in of Animal met a str"):
        encoder.encode([rows[0], "b"])


def test_decimal_places_are_kept() -> None:
    assert _encoder(NUMERIC).encode([(decimal.Decimal("1.10"),)]) != _encoder(NUMERIC).encode([(decimal.Decimal("1.1"),)])
