"""What the server is asked to compute: columns, values, operators, functions, as typed immutable values.

The contract: an expression is a shape and its bind values; the shape says everything but the values. Nothing here knows models,
statements or servers.
"""

from typing import TYPE_CHECKING

from trioorm.expression.annotations import composite_type, type_of_annotation, type_of_value
from trioorm.expression.column import Column, ColumnExpression
from trioorm.expression.column_values import kinds_of
from trioorm.expression.expression import Expression, Operation
from trioorm.expression.identifiers import quote_identifier, quote_literal, quote_qualified, type_text
from trioorm.expression.node import Ordering, Selectable
from trioorm.expression.types import (
    BIGINT,
    BIT,
    BOOLEAN,
    BUILT_IN,
    BYTEA,
    CALENDAR_INTERVAL,
    CHAR,
    CIDR,
    CITEXT,
    DATE,
    DATEMULTIRANGE,
    DATERANGE,
    DOUBLE,
    HSTORE,
    INET,
    INT4MULTIRANGE,
    INT4RANGE,
    INT8MULTIRANGE,
    INT8RANGE,
    INTEGER,
    INTERVAL,
    JSONB,
    MACADDR,
    MACADDR8,
    NUMERIC,
    NUMMULTIRANGE,
    NUMRANGE,
    REAL,
    SMALLINT,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    TIMETZ,
    TSMULTIRANGE,
    TSQUERY,
    TSRANGE,
    TSTZMULTIRANGE,
    TSTZRANGE,
    TSVECTOR,
    UUID,
    VARBIT,
    VARCHAR,
    VECTOR,
    IpAddress,
    IpNetwork,
    Json,
    SqlType,
    array_of,
)
from trioorm.expression.values import Interval, Multirange, Range, TsQuery, TsVector
from trioorm.later import given_later

if TYPE_CHECKING:
    from trioorm.expression import arrays, hstore, jsonb, networks, ranges, search, trigram
    from trioorm.expression.aggregates import avg, count, max_, min_, sum_
    from trioorm.expression.functions import (
        all_,
        and_,
        any_,
        array,
        case,
        cast,
        coalesce,
        default,
        exists,
        extract,
        greatest,
        least,
        literal,
        lower,
        not_,
        now,
        nullif,
        or_,
        row,
        upper,
    )
    from trioorm.expression.json_codec import json_codec_for
    from trioorm.expression.named_functions import FunctionCall, FunctionNamespace, func
    from trioorm.expression.user_types import (
        CompositeType,
        DomainType,
        JsonCodec,
        JsonType,
        domain_type,
        enum_label,
        enum_type,
        json_type,
        multirange_type,
        range_type,
    )
    from trioorm.expression.windows import WindowSpec, window
else:
    __getattr__, __dir__ = given_later(
        __name__,
        {
            "trioorm.expression": "arrays hstore jsonb networks ranges search trigram",
            "trioorm.expression.aggregates": "avg count max_ min_ sum_",
            "trioorm.expression.functions": (
                "all_ and_ any_ array case cast coalesce default exists extract greatest least literal lower not_ now nullif or_ row upper"
            ),
            "trioorm.expression.json_codec": "json_codec_for",
            "trioorm.expression.named_functions": "FunctionCall FunctionNamespace func",
            "trioorm.expression.user_types": (
                "CompositeType DomainType JsonCodec JsonType domain_type enum_label enum_type json_type multirange_type range_type"
            ),
            "trioorm.expression.windows": "WindowSpec window",
        },
    )

__all__ = [
    "BIGINT", "BIT", "BOOLEAN", "BUILT_IN", "BYTEA", "CALENDAR_INTERVAL", "CHAR", "CIDR", "CITEXT", "DATE", "DATEMULTIRANGE", "DATERANGE",
    "DOUBLE", "HSTORE", "INET", "INT4MULTIRANGE", "INT4RANGE", "INT8MULTIRANGE", "INT8RANGE", "INTEGER", "INTERVAL", "JSONB", "MACADDR",
    "MACADDR8", "NUMERIC", "NUMMULTIRANGE", "NUMRANGE", "REAL", "SMALLINT", "TEXT", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "TIMETZ",
    "TSMULTIRANGE", "TSQUERY", "TSRANGE", "TSTZMULTIRANGE", "TSTZRANGE", "TSVECTOR", "UUID", "VARBIT", "VARCHAR", "VECTOR", "Column",
    "ColumnExpression", "CompositeType", "DomainType", "Expression", "FunctionCall", "FunctionNamespace", "Interval", "IpAddress",
    "IpNetwork", "Json", "JsonCodec", "JsonType", "Multirange", "Operation", "Ordering", "Range", "Selectable", "SqlType", "TsQuery",
    "TsVector", "WindowSpec", "all_", "and_", "any_", "array", "array_of", "arrays", "avg", "case", "cast", "coalesce", "composite_type",
    "count", "default", "domain_type", "enum_label", "enum_type", "exists", "extract", "func", "greatest", "hstore", "json_codec_for",
    "json_type", "jsonb", "kinds_of", "least", "literal", "lower", "max_", "min_", "multirange_type", "networks", "not_", "now", "nullif",
    "or_", "quote_identifier", "quote_literal", "quote_qualified", "range_type", "ranges", "row", "search", "sum_",
    "trigram", "type_of_annotation", "type_of_value", "type_text", "upper", "window",
]  # fmt: skip
