"""`func.any_name(...)`: PostgreSQL's functions by their names, the common ones typed.

The contract: `FunctionNamespace` names what type checkers know, `_RESULTS` what type each gives at run time; both lists have the same
names, which is tested. A function that is in neither works too: say what it gives with `returns=`. One that is not known to be free of side
effects counts as volatile, so a select that calls it is not run twice by the library on its own.

Source: PostgreSQL manual, chapter 9 (functions and operators).
"""

from __future__ import annotations

import datetime
import decimal
import re
import typing
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, overload

from trioorm.expression import building
from trioorm.expression.aggregates import call
from trioorm.expression.annotations import type_of_class, type_of_value
from trioorm.expression.expression import Expression, is_expression
from trioorm.expression.shape import Shape
from trioorm.expression.types import (
    BIGINT,
    BOOLEAN,
    CALENDAR_INTERVAL,
    DATE,
    DOUBLE,
    INTEGER,
    JSONB,
    NUMERIC,
    TEXT,
    TIME,
    TIMESTAMPTZ,
    UUID,
    Json,
    SqlType,
    array_of,
)
from trioorm.expression.values import Interval
from trioorm.expression.windows import Terms

A_contra = TypeVar("A_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
Where: typing.TypeAlias = Expression[bool] | None

_NAME = r"[a-z_][a-z0-9_]{0,62}"


class Fixed(Protocol[A_contra, R_co]):
    """A function of a value of one class: its result is NULL where the value is."""

    @overload
    def __call__(self, value: A_contra | Expression[A_contra], /, *more: object) -> Expression[R_co]: ...
    @overload
    def __call__(self, value: Expression[A_contra | None], /, *more: object) -> Expression[R_co | None]: ...
    @overload
    def __call__(self, *arguments: object, returns: type[S]) -> Expression[S]: ...


class Same(Protocol):
    """A function whose result has the class of its first argument."""

    @overload
    def __call__(self, value: Expression[S], /, *more: object) -> Expression[S]: ...
    @overload
    def __call__(self, *arguments: object, returns: type[S]) -> Expression[S]: ...


class Given(Protocol[R_co]):
    """A function whose result is never NULL, or of which the arguments do not tell."""

    @overload
    def __call__(self, *arguments: object) -> Expression[R_co]: ...
    @overload
    def __call__(self, *arguments: object, returns: type[S]) -> Expression[S]: ...


class Truncating(Protocol):
    """`date_trunc` and `date_bin`: a field or width, then the moment."""

    @overload
    def __call__(self, to: object, moment: Expression[S], /, *more: object) -> Expression[S]: ...
    @overload
    def __call__(self, *arguments: object, returns: type[S]) -> Expression[S]: ...


class Aggregate(Protocol[A_contra, R_co]):
    """An aggregate: NULL when there are no rows."""

    @overload
    def __call__(
        self, value: Expression[A_contra | None], /, *more: object, distinct: bool = ..., where: Where = ..., order_by: Terms = ...
    ) -> Expression[R_co | None]: ...
    @overload
    def __call__(
        self, *arguments: object, returns: type[S], distinct: bool = ..., where: Where = ..., order_by: Terms = ...
    ) -> Expression[S]: ...


class Gathering(Protocol):
    """`array_agg`: an array of what there is in the rows."""

    @overload
    def __call__(
        self, value: Expression[S], /, *, distinct: bool = ..., where: Where = ..., order_by: Terms = ...
    ) -> Expression[list[S] | None]: ...
    @overload
    def __call__(
        self, value: Expression[object], /, *, returns: type[S], distinct: bool = ..., where: Where = ..., order_by: Terms = ...
    ) -> Expression[S]: ...


class OrderedSet(Protocol):
    """An aggregate over ordered rows: `percentile_cont(0.5, within_group=Film.rating)`."""

    @overload
    def __call__(self, fraction: float, /, *, within_group: Expression[S | None], where: Where = ...) -> Expression[S | None]: ...
    @overload
    def __call__(self, *arguments: object, within_group: Terms, returns: type[S], where: Where = ...) -> Expression[S]: ...


class Mode(Protocol):
    """The most frequent value."""

    def __call__(self, *, within_group: Expression[S | None], where: Where = ...) -> Expression[S | None]: ...


class Shifted(Protocol):
    """A window function that gives a value of another row of the window, NULL where there is none."""

    @overload
    def __call__(self, value: Expression[S], offset: int, default: S | Expression[S], /) -> Expression[S]: ...
    @overload
    def __call__(self, value: Expression[S], offset: int = ..., /) -> Expression[S | None]: ...
    @overload
    def __call__(self, *arguments: object, returns: type[S]) -> Expression[S]: ...


class Ranking(Protocol[R_co]):
    """A window function of the row's place."""

    def __call__(self, *arguments: object) -> Expression[R_co]: ...


class FunctionNamespace:
    """`func.any_name(...)` calls a function of PostgreSQL by its name.

    Arguments are expressions or values; values are bound. The functions below are typed; for another say what it gives:
    `func.soundex(User.name, returns=str)`. Without, the server's type decides.
    """

    # fmt: off
    # Text.
    ascii: Fixed[str, int]; bit_length: Fixed[str, int]; char_length: Fixed[str, int]; length: Fixed[str, int]  # noqa: E702 - a table
    octet_length: Fixed[str, int]; strpos: Fixed[str, int]; regexp_count: Fixed[str, int]; regexp_instr: Fixed[str, int]  # noqa: E702
    btrim: Same; initcap: Same; left: Same; lpad: Same; ltrim: Same; md5: Same; overlay: Same; regexp_replace: Same  # noqa: E702
    regexp_substr: Same; repeat: Same; replace: Same; reverse: Same; right: Same; rpad: Same; rtrim: Same; split_part: Same  # noqa: E702
    substr: Same; translate: Same; lower: Same; upper: Same; trim: Same; normalize: Same  # noqa: E702
    regexp_like: Fixed[str, bool]; starts_with: Fixed[str, bool]; string_to_array: Fixed[str, list[str]]  # noqa: E702
    regexp_split_to_array: Fixed[str, list[str]]; regexp_match: Fixed[str, list[str] | None]  # noqa: E702
    concat: Given[str]; concat_ws: Given[str]; format: Given[str]; chr: Given[str]; to_char: Given[str]; to_hex: Given[str]  # noqa: E702
    # Numbers.
    abs: Same; ceil: Same; ceiling: Same; floor: Same; mod: Same; round: Same; trunc: Same; sign: Same; gcd: Same; lcm: Same  # noqa: E702
    power: Same; sqrt: Same; exp: Same; ln: Same; log: Same  # noqa: E702
    acos: Given[float]; asin: Given[float]; atan: Given[float]; atan2: Given[float]; cbrt: Given[float]; cos: Given[float]  # noqa: E702
    degrees: Given[float]; pi: Given[float]; radians: Given[float]; sin: Given[float]; tan: Given[float]; random: Given[float]  # noqa: E702
    to_number: Given[decimal.Decimal]; width_bucket: Given[int]  # noqa: E702
    # Moments.
    age: Given[Interval]; clock_timestamp: Given[datetime.datetime]; now: Given[datetime.datetime]  # noqa: E702
    statement_timestamp: Given[datetime.datetime]; to_timestamp: Given[datetime.datetime]; make_timestamptz: Given[datetime.datetime]  # noqa: E702
    to_date: Given[datetime.date]; make_date: Given[datetime.date]; make_time: Given[datetime.time]; make_interval: Given[Interval]  # noqa: E702
    date_part: Given[float]; date_trunc: Truncating; date_bin: Truncating; justify_interval: Same; justify_days: Same  # noqa: E702
    # Other values.
    gen_random_uuid: Given[uuid.UUID]; uuidv7: Given[uuid.UUID]; num_nulls: Given[int]; num_nonnulls: Given[int]  # noqa: E702
    # Aggregates.
    array_agg: Gathering; string_agg: Aggregate[str, str]; bool_and: Aggregate[bool, bool]; bool_or: Aggregate[bool, bool]  # noqa: E702
    every: Aggregate[bool, bool]; bit_and: Aggregate[int, int]; bit_or: Aggregate[int, int]; bit_xor: Aggregate[int, int]  # noqa: E702
    jsonb_agg: Aggregate[object, Json]; jsonb_object_agg: Aggregate[object, Json]  # noqa: E702
    corr: Aggregate[float, float]; covar_pop: Aggregate[float, float]; covar_samp: Aggregate[float, float]  # noqa: E702
    regr_slope: Aggregate[float, float]; regr_intercept: Aggregate[float, float]; regr_r2: Aggregate[float, float]  # noqa: E702
    regr_count: Aggregate[float, int]; stddev: Aggregate[Any, Any]; stddev_pop: Aggregate[Any, Any]; stddev_samp: Aggregate[Any, Any]  # noqa: E702
    variance: Aggregate[Any, Any]; var_pop: Aggregate[Any, Any]; var_samp: Aggregate[Any, Any]  # noqa: E702
    percentile_cont: OrderedSet; percentile_disc: OrderedSet; mode: Mode  # noqa: E702
    # Windows.
    row_number: Ranking[int]; rank: Ranking[int]; dense_rank: Ranking[int]; ntile: Ranking[int]; percent_rank: Ranking[float]  # noqa: E702
    cume_dist: Ranking[float]; lag: Shifted; lead: Shifted; first_value: Shifted; last_value: Shifted; nth_value: Shifted  # noqa: E702
    # fmt: on

    def __getattr__(self, name: str) -> FunctionCall:
        if name.startswith("__") or not re.fullmatch(_NAME, name):
            raise AttributeError(f"func.{name} is no name of a function: small letters, digits and underscores only")
        return FunctionCall(name)


class FunctionCall:
    """A function of PostgreSQL, to be called. Made by `func.name`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __call__(
        self,
        *arguments: object,
        returns: type[S],
        distinct: bool = False,
        where: Where = None,
        order_by: Terms = (),
        within_group: Terms = (),
    ) -> Expression[S]: ...
    @overload
    def __call__(
        self,
        *arguments: object,
        returns: SqlType | None = None,
        distinct: bool = False,
        where: Where = None,
        order_by: Terms = (),
        within_group: Terms = (),
    ) -> Expression[Any]: ...
    def __call__(
        self,
        *arguments: object,
        returns: type[S] | SqlType | None = None,
        distinct: bool = False,
        where: Where = None,
        order_by: Terms = (),
        within_group: Terms = (),
    ) -> Expression[Any]:
        """The call as an expression.

        Args:
            arguments: expressions or values.
            returns: the Python class or PostgreSQL type of the result.
            distinct: for aggregates, different values only.
            where: for aggregates, only rows for which this holds.
            order_by: for aggregates, in this order.
            within_group: for ordered-set aggregates, what they are computed over.
        """
        shapes: list[Shape] = []
        values: tuple[object, ...] = ()
        kinds: list[SqlType | None] = []
        for argument in arguments:
            kind = argument.sql_type if is_expression(argument) else None if argument is None else argument_type(argument)
            shape, more = building.place_of(argument, kind or TEXT, of=f"func.{self.name}")
            shapes.append(shape)
            values += more
            kinds.append(kind)
        result: SqlType | None
        if returns is not None:
            result = type_of_class(returns, f"func.{self.name}(returns=...)")
        else:
            group = within_group if isinstance(within_group, Expression) else None
            result = _result(self.name, kinds, group.sql_type if group is not None else None)
        return call(
            self.name,
            tuple(shapes),
            values,
            result,
            where=where,
            distinct=distinct,
            order_by=order_by,
            within_group=within_group,
            repeatable=self.name in REPEATABLE,
        )


def argument_type(value: object) -> SqlType:
    """The type of a value given to a function: PostgreSQL's own functions mostly want integer, which becomes bigint where needed."""
    return INTEGER if type(value) is int and -(2**31) <= value < 2**31 else type_of_value(value)


func = FunctionNamespace()

Rule: typing.TypeAlias = SqlType | Callable[[Sequence[SqlType | None], SqlType | None], SqlType | None]


def _first(kinds: Sequence[SqlType | None], _: SqlType | None) -> SqlType | None:
    return kinds[0].bound if kinds and kinds[0] is not None else None


def _second(kinds: Sequence[SqlType | None], _: SqlType | None) -> SqlType | None:
    kind = kinds[1] if len(kinds) > 1 else None
    return TIMESTAMPTZ if kind is DATE else kind


def _array(kinds: Sequence[SqlType | None], _: SqlType | None) -> SqlType | None:
    kind = kinds[0] if kinds else None
    return array_of(kind) if kind is not None and kind.element is None else None


def _group(_: Sequence[SqlType | None], group: SqlType | None) -> SqlType | None:
    return group


def _interpolated(kinds: Sequence[SqlType | None], group: SqlType | None) -> SqlType | None:
    return DOUBLE if group is not None and group.family == "number" else group


def _computed(kinds: Sequence[SqlType | None], _: SqlType | None) -> SqlType | None:
    """Roots and powers: of whole numbers a double precision, of other numbers their own type."""
    kind = kinds[0] if kinds else None
    return DOUBLE if kind is not None and kind.python is int else kind.bound if kind is not None else None


def _spread(kinds: Sequence[SqlType | None], _: SqlType | None) -> SqlType | None:
    kind = kinds[0] if kinds else None
    return NUMERIC if kind is not None and kind.python is int else kind.bound if kind is not None else None


def _result(name: str, kinds: Sequence[SqlType | None], group: SqlType | None) -> SqlType | None:
    rule = RESULTS.get(name)
    return rule if rule is None or isinstance(rule, SqlType) else rule(kinds, group)


def _named(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RESULTS: dict[str, Rule] = {
    **_named(
        "ascii bit_length char_length length octet_length strpos regexp_count regexp_instr num_nulls num_nonnulls width_bucket", INTEGER
    ),
    **_named("btrim initcap left lpad ltrim md5 overlay regexp_replace regexp_substr repeat replace reverse right rpad rtrim", TEXT),
    **_named("split_part substr translate lower upper trim normalize concat concat_ws format chr to_char to_hex string_agg", TEXT),
    **_named("regexp_like starts_with bool_and bool_or every", BOOLEAN),
    **_named("string_to_array regexp_split_to_array regexp_match", array_of(TEXT)),
    **_named("abs mod gcd lcm justify_interval justify_days bit_and bit_or bit_xor", _first),
    **_named("lag lead first_value last_value nth_value", _first),
    **_named("ceil ceiling floor round trunc sign power sqrt exp ln log", _computed),
    **_named("acos asin atan atan2 cbrt cos degrees pi radians sin tan random date_part percent_rank cume_dist", DOUBLE),
    **_named("corr covar_pop covar_samp regr_slope regr_intercept regr_r2", DOUBLE),
    **_named("to_number", NUMERIC),
    **_named("clock_timestamp now statement_timestamp to_timestamp make_timestamptz", TIMESTAMPTZ),
    **_named("to_date make_date", DATE),
    **_named("make_time", TIME),
    **_named("age make_interval", CALENDAR_INTERVAL),
    **_named("date_trunc date_bin", _second),
    **_named("gen_random_uuid uuidv7", UUID),
    **_named("array_agg", _array),
    **_named("jsonb_agg jsonb_object_agg", JSONB),
    **_named("stddev stddev_pop stddev_samp variance var_pop var_samp", _spread),
    **_named("percentile_cont", _interpolated),
    **_named("percentile_disc mode", _group),
    **_named("row_number rank dense_rank regr_count", BIGINT),
    **_named("ntile", INTEGER),
}

REPEATABLE = (frozenset(RESULTS) - {"random", "gen_random_uuid", "uuidv7", "clock_timestamp"}) | frozenset(
    """
    array_append array_cat array_length array_position array_positions array_prepend array_remove array_replace array_to_string avg
    cardinality coalesce count div greatest json_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array
    jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_object_keys jsonb_to_record jsonb_to_recordset
    jsonb_extract_path_text jsonb_path_exists jsonb_path_query_array jsonb_path_query_first jsonb_set jsonb_strip_nulls jsonb_typeof least
    max min nullif position scale substring sum to_json to_jsonb trim_array unnest generate_series generate_subscripts
    """.split()  # noqa: SIM905 - reads better as a text
)
