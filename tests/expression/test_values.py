"""Ranges and intervals as values, typed JSON, and what windows and their kin refuse."""

import dataclasses
import datetime
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import attrs
import pydantic
import pytest

from tests.expression.gallery import Thing
from tests.query.shop import unchecked
from trioorm import Interval, ModelError, Multirange, QueryError, Range, all_, any_, array, case, func, row, select, window
from trioorm.errors import DataError
from trioorm.expression import json_codec_for
from trioorm.expression.named_functions import RESULTS

T: Any = Thing


def test_a_range_holds_what_lies_between_its_bounds() -> None:
    assert [value in Range(1, 3) for value in (0, 1, 2, 3)] == [False, True, True, False]
    assert [value in Range(1, 3, "(]") for value in (1, 2, 3)] == [False, True, True]
    assert 10**9 in Range(1, None)
    assert 1 not in Range[int].empty()
    assert None not in Range(None, None)
    several: Any = Multirange([Range(1, 2), Range(4, 5)])  # to mypy a tuple of ranges holds ranges only
    assert [value in several for value in (1, 3, 4)] == [True, False, True]


def test_a_bound_that_is_not_there_does_not_belong_to_the_range() -> None:
    assert Range(None, 5, "[]") == Range(None, 5, "(]")
    assert Range(1, 5, is_empty=True) == Range.empty()
    assert len({Range(1, 2), Range(1, 2), Range(1, 2, "[]")}) == 2
    assert repr(Range(1, 2)) == "Range(1, 2, '[)')"


def test_an_interval_is_made_of_calendar_units() -> None:
    made = Interval.of(years=1, months=1, weeks=1, days=1, span=datetime.timedelta(days=1, hours=1))
    assert made == Interval(13, 9, 3_600_000_000)


@dataclasses.dataclass
class Node:
    name: str
    weight: float = 0.0
    children: list["Node"] = dataclasses.field(default_factory=list["Node"])


@attrs.define
class Private:
    _hidden: int | None = None


class Checked(pydantic.BaseModel):
    age: int
    day: datetime.date


@dataclasses.dataclass
class Mixed:
    inner: Checked
    anything: dict[str, Any]


@pytest.mark.parametrize(
    "value",
    [
        Node("a", 1.5, [Node("b")]),
        Private(5),
        Private(None),
        Checked(age=3, day=datetime.date(2020, 1, 2)),
        Mixed(Checked(age=3, day=datetime.date(2020, 1, 2)), {"x": [1, None]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_typed_json_comes_back(value: object) -> None:
    codec = json_codec_for(type(value))
    assert codec.load(codec.dump(value)) == value


def test_typed_json_of_another_program() -> None:
    load = json_codec_for(Node).load
    assert load({"name": "a", "unknown": 1}) == Node("a")
    assert load({"name": "a", "weight": 2}) == Node("a", 2.0)
    wrong: list[object] = [{}, {"name": 5}, [], None, {"name": "a", "children": 3}, {"name": "a", "weight": True}]
    for given in wrong:
        with pytest.raises(DataError, match="a jsonb value is no Node"):
            load(given)


@pytest.mark.parametrize("annotation", [object(), bytes, int | str | Node, Node | Private, dict[int, str], tuple[int, str], complex])
def test_what_json_cannot_carry_is_refused_at_once(annotation: object) -> None:
    with pytest.raises(ModelError, match="JsonCodec"):
        json_codec_for(annotation)


def test_pydantic_is_imported_by_its_users_only() -> None:
    code = "import sys, trioorm; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=".").returncode == 0


def test_the_typed_functions_are_those_whose_result_is_known() -> None:
    assert set(type(func).__annotations__) == set(RESULTS)


REFUSED: list[tuple[str, Callable[[], object], str]] = [
    ("over a column", T.small.over, "belongs to the call of a function"),
    ("two frames", lambda: window(rows=(0, 0), groups=(0, 0)), "one frame at most"),
    ("exclusion alone", lambda: window(exclude="ties"), "one frame at most"),
    ("rows of time", lambda: window(rows=(datetime.timedelta(1), 0)), "whole numbers"),
    ("frame of one", lambda: window(rows=unchecked([1])), "tuple of two bounds"),
    ("order by text", lambda: window(order_by=unchecked("x")), "takes columns and expressions"),
    ("window and parts", lambda: func.rank().over("w", order_by=T.id), "a window and parts of one"),
    ("both orders", lambda: func.x(order_by=T.id, within_group=T.id), "keep within_group"),
    ("no branches", case, "no branches"),
    ("mixed branches", lambda: case((T.on, T.name), else_=T.small), "different types"),
    ("any of a number", lambda: T.small > any_(T.small), "takes an array or a select"),
    ("all of nothing", lambda: T.small > all_([]), "an empty one"),
    ("array of nothing", lambda: array(unchecked([])), "is not known"),
    ("row of one", lambda: unchecked(row)(T.small), "two values or more"),
    ("row of another length", lambda: row(T.small, T.name) < unchecked((1,)), "a row of 2"),
    ("row with None", lambda: row(T.small, T.name) == (1, None), "none of them None"),
    ("array from 0", lambda: T.tags[0], "from 1"),
    ("array with step", lambda: T.tags[1:2:3], "no step"),
    ("key of a number", lambda: T.small["a"], "needs an array, jsonb or hstore"),
    ("unknown field", lambda: T.place.field("zip", str), "no field 'zip'"),
    ("text of a number", T.small.as_text, "needs jsonb"),
    ("collated number", lambda: T.small.collate("C"), "needs a text"),
    ("zone of a text", lambda: T.name.at_time_zone("UTC"), "needs a moment"),
    ("moment plus number", lambda: T.at + 1, "has no meaning"),
    ("Range of a number in a range of days", lambda: T.during.overlaps(Range(1, 2)), "class Range"),
    ("wrong bounds", lambda: Range(1, 2, unchecked("><")), "no kind of bounds"),
    ("a select as an array", lambda: select(T.id).where(T.id == array(T.id)), "takes a list or a select"),
]


@pytest.mark.parametrize(("build", "message"), [entry[1:] for entry in REFUSED], ids=[entry[0] for entry in REFUSED])
def test_refuses(build: Callable[[], object], message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        build()
    assert "To fix it" in str(caught.value)
