"""Arrays that are packed as a whole: the server reads what it would read of them packed one by one, and of psycopg's."""

import datetime
import decimal
import uuid
from typing import Any

import hypothesis
import psycopg
import pytest
from hypothesis import strategies as st
from psycopg.abc import Buffer
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus, Format

from tests.generated import examples
from trioorm import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    NUMERIC,
    REAL,
    SMALLINT,
    TEXT,
    TIMESTAMPTZ,
    UUID,
    VARCHAR,
    BindError,
    array_of,
    literal,
    select,
)
from trioorm.database.arrays import array_form_for
from trioorm.database.codecs import binary_packer_for, packer_for
from trioorm.database.plan import PlanCache
from trioorm.expression import SqlType

_awkward = st.text(st.sampled_from("\",\\{} \tNUL'aé€\U0001f600\n"), max_size=8)
_text = (
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
    | _awkward
    | st.sampled_from(["", "NULL", "null", '"', "\\"])
)
_words = ["NaN", "-NaN", "NaN123", "Infinity", "-Infinity", "0E-20", "1E+40", "-0.00"]
_VALUES: dict[SqlType, st.SearchStrategy[Any]] = {
    SMALLINT: st.integers(-(2**15), 2**15 - 1),
    INTEGER: st.integers(-(2**31), 2**31 - 1),
    BIGINT: st.integers(-(2**63), 2**63 - 1),
    REAL: st.floats(width=32),
    DOUBLE: st.floats(),
    BOOLEAN: st.booleans(),
    TEXT: _text,
    VARCHAR: _text,
    NUMERIC: st.decimals(-(10**25), 10**25) | st.integers(-(10**30), 10**30) | st.sampled_from([decimal.Decimal(word) for word in _words]),
    TIMESTAMPTZ: st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9998, 1, 1), timezones=st.timezones()),
    DATE: st.dates(),
    UUID: st.uuids(),
}


def _sent(connection: psycopg.Connection[Any], kind: SqlType, data: Buffer | None, oid: int, format: Format) -> bytes | None:
    """The array in PostgreSQL's own binary form, as the server has understood it."""
    result = connection.pgconn.exec_params(f"SELECT $1::{kind.name}[]".encode(), [data], [oid], [format], Format.BINARY)
    assert result.status == ExecStatus.TUPLES_OK, result.get_error_message()
    return result.get_value(0, 0)


@hypothesis.settings(max_examples=examples(150))
@hypothesis.given(data=st.data())
def test_the_server_reads_what_one_by_one_would_give(connection: psycopg.Connection[Any], data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(_VALUES)))
    values = data.draw(st.lists(_VALUES[kind], min_size=15, max_size=18) | st.lists(st.none() | _VALUES[kind], max_size=6))
    packer, alone = packer_for(array_of(kind)), binary_packer_for(array_of(kind))
    assert alone is not None
    form = array_form_for(kind, packer_for(kind).oid)
    assert form is not None
    assert packer.pack(values) == form.pack(values), "packed as a whole, and not one by one after all"
    one_by_one = alone.pack(values)
    if kind is not NUMERIC:  # whose digits the server writes in a shorter form
        assert _sent(connection, kind, packer.pack(values), packer.oid, packer.format) == one_by_one
    assert _sent(connection, kind, packer.pack(values), packer.oid, packer.format) == _sent(
        connection, kind, one_by_one, alone.oid, Format.BINARY
    )


@hypothesis.settings(max_examples=examples(150))
@hypothesis.given(values=st.lists(st.none() | _text, min_size=1, max_size=6))
def test_texts_are_escaped_as_psycopg_does(connection: psycopg.Connection[Any], values: list[str | None]) -> None:
    transformer = Transformer(connection)
    (dumped,) = transformer.dump_sequence([values], [PyFormat.TEXT])
    packer = packer_for(array_of(TEXT))
    ours = _sent(connection, TEXT, packer.pack(values), packer.oid, packer.format)
    assert ours == _sent(connection, TEXT, dumped, packer.oid, Format.TEXT)


class _Text(str):
    __slots__ = ()


class _Int(int):
    pass


class _Uuid(uuid.UUID):
    pass


class _Date(datetime.date):
    pass


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (TEXT, [_Text("a"), "b"]),
        (BIGINT, [_Int(5), 6]),
        (UUID, [_Uuid(int=7)]),
        (DATE, [_Date(2020, 1, 1), None]),
        (NUMERIC, [_Int(5), decimal.Decimal("1.5")]),
    ],
    ids=str,
)
def test_derived_classes_are_sent_as_what_they_are_derived_from(
    connection: psycopg.Connection[Any], kind: SqlType, values: list[Any]
) -> None:
    packer, alone = packer_for(array_of(kind)), binary_packer_for(array_of(kind))
    assert alone is not None
    assert _sent(connection, kind, packer.pack(values), packer.oid, packer.format) == alone.pack(values)


_MOMENT = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (BIGINT, [1, True], "an int is expected, not a bool"),
        (BIGINT, [1, 2**63], "out of its range"),
        (SMALLINT, [None, 2**15], "out of its range"),
        (BIGINT, [1, "2"], "not a number of that type"),
        (REAL, [1e300], "too large"),
        (DOUBLE, ["1"], "not a number of that type"),
        (BOOLEAN, [True, 1], "a bool is expected"),
        (TEXT, ["a", "b\0c"], "cannot hold the character NUL"),
        (TEXT, ["a", None, "\0"], "cannot hold the character NUL"),
        (TEXT, ["a", "\ud800"], "surrogates not allowed"),
        (TEXT, ["a", 5], "a str is expected"),
        (TEXT, [None, b"a"], "a str is expected"),
        (NUMERIC, [decimal.Decimal(1), 0.5], "a float is not exact"),
        (NUMERIC, [decimal.Decimal("sNaN")], "a signalling NaN"),
        (TIMESTAMPTZ, [_MOMENT, _MOMENT.replace(tzinfo=None)], "the datetime is naive"),
        (DATE, [_MOMENT], "a date is expected, not a datetime"),
        (UUID, ["7"], "another class"),
        (BIGINT, "12", "list | tuple"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_before_it_is_sent(kind: SqlType, values: object, said: str) -> None:
    plan, _ = PlanCache().plan(select(literal([], type=array_of(kind))))
    with pytest.raises(BindError, match=said):
        plan.pack([values])
