"""A table with a row of everything, and expressions over it: what SQL each is, which values it binds, and what the server makes of it."""

import datetime
import decimal
import ipaddress
from typing import Any

import attrs

from trioorm import (
    CITEXT,
    DOUBLE,
    HSTORE,
    INTEGER,
    JSONB,
    SMALLINT,
    TIMESTAMP,
    VECTOR,
    Column,
    Expression,
    Interval,
    IpAddress,
    IpNetwork,
    Json,
    Model,
    Multirange,
    Range,
    TsQuery,
    all_,
    any_,
    array,
    arrays,
    avg,
    case,
    cast,
    coalesce,
    column,
    composite_type,
    count,
    extract,
    func,
    greatest,
    hstore,
    jsonb,
    least,
    literal,
    networks,
    nullif,
    ranges,
    row,
    search,
    select,
    sum_,
    trigram,
    window,
)

Decimal = decimal.Decimal
MOMENT = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC)
DAY = datetime.date(2024, 2, 29)
HOUR = datetime.timedelta(hours=1)


@attrs.frozen
class Place:
    street: str
    number: int


PLACE = composite_type(Place)


class Thing(Model, table="t"):
    """Short names, for the SQL below is read by people."""

    id: Column[int] = column(primary_key=True)
    small: Column[int] = column(type=SMALLINT, default=7)
    d: Column[Decimal] = column(default=Decimal("2.50"))
    f: Column[float] = column(default=1.5)
    name: Column[str] = column(default="Ada Lovelace")
    nick: Column[str | None] = column(default=None)
    folded: Column[str] = column(type=CITEXT, default="Ada")
    on: Column[bool] = column(default=True)
    day: Column[datetime.date] = column(default=DAY)
    time: Column[datetime.time] = column(default=datetime.time(12, 30))
    at: Column[datetime.datetime] = column(default=MOMENT)
    clock: Column[datetime.datetime] = column(type=TIMESTAMP, default=MOMENT.replace(tzinfo=None))
    span: Column[datetime.timedelta] = column(default=HOUR)
    tags: Column[list[str]] = column(default_factory=lambda: ["a", "b"])
    j: Column[Json] = column(type=JSONB, default_factory=lambda: {"a": {"b": [1, 2]}, "n": 5, "s": "x", "z": None})
    h: Column[dict[str, str | None]] = column(type=HSTORE, default_factory=lambda: {"k": "v", "n": None})
    r: Column[Range[int]] = column(default=Range(1, 5))
    during: Column[Range[datetime.datetime]] = column(default=Range(MOMENT, MOMENT + HOUR))
    m: Column[Multirange[int]] = column(default=Multirange([Range(1, 3), Range(5, 7)]))
    ip: Column[IpAddress] = column(default=ipaddress.ip_address("10.0.0.5"))
    net: Column[IpNetwork] = column(default=ipaddress.ip_network("10.0.0.0/8"))
    v: Column[list[float]] = column(type=VECTOR(2), default_factory=lambda: [3.0, 4.0])
    place: Column[Place] = column(type=PLACE, default=Place("Main", 5))


T = Thing
Case = tuple[Expression[Any], str, list[object], object]

OPERATORS: list[Case] = [
    (arrays.append(T.tags, "c")[3], '(array_append("t"."tags", $1::text))[$2::integer]', ["c", 3], "c"),
    (row(T.small + 1, T.on).in_([(8, True)]), 'ROW("t"."small" + $1, "t"."on") IN (SELECT * FROM unnest($2::smallint[], $3::boolean[]))',
     [1, [8], [True]], True),
    (T.d > 2, '"t"."d" > $1', [2], True),
    (T.d == 3, '"t"."d" = $1', [3], False),
    (T.d.between(2, 3), '"t"."d" BETWEEN $1 AND $2', [2, 3], True),
    (T.d.not_between(2, 3), 'NOT "t"."d" BETWEEN $1 AND $2', [2, 3], False),
    (T.d.in_([Decimal(1), Decimal("2.5")]), '"t"."d" = ANY ($1::numeric[])', [[Decimal(1), Decimal("2.5")]], True),
    (T.name.similar_to("(Ada|Bob)%"), '"t"."name" SIMILAR TO $1', ["(Ada|Bob)%"], True),
    (T.name.regex("^ada", ignore_case=True), '"t"."name" ~* $1', ["^ada"], True),
    (~T.name.regex("^ada"), 'NOT "t"."name" ~ $1', ["^ada"], True),
    (T.name.not_regex("^ada"), '"t"."name" !~ $1', ["^ada"], True),
    (T.folded == "ADA", '"t"."folded" = $1::citext', ["ADA"], True),
    (T.name.collate("C") < "B", '"t"."name" COLLATE "C" < $1', ["B"], True),
    ((T.name + "x").collate("C"), '("t"."name" || $1) COLLATE "C"', ["x"], "Ada Lovelacex"),
    (T.name.op("||")("!", returns=str), '"t"."name" || $1', ["!"], "Ada Lovelace!"),
    (T.small.op("&")(3, returns=int) + 1, '("t"."small" & $1) + $2', [3, 1], 4),
    (T.small.op("#")(T.small.op("&")(1)), '"t"."small" # ("t"."small" & $1)', [1], 6),
    (row(T.name, T.small) < ("B", 1), 'ROW("t"."name", "t"."small") < ROW($1, $2)', ["B", 1], True),
    (row(T.small, T.name) == row(literal(7), literal("Ada Lovelace")),
     'ROW("t"."small", "t"."name") = ROW($1::bigint, $2::text)',
     [7, "Ada Lovelace"], True),
    (row(T.small, T.on).in_([(1, True), (7, True)]), 'ROW("t"."small", "t"."on") IN (SELECT * FROM unnest($1::smallint[], $2::boolean[]))',
     [[1, 7], [True, True]], True),
    (row(T.small, T.on).not_in([(7, True)]), 'ROW("t"."small", "t"."on") NOT IN (SELECT * FROM unnest($1::smallint[], $2::boolean[]))',
     [[7], [True]], False),
    (row(T.name, T.small), 'ROW("t"."name", "t"."small")', [], ("Ada Lovelace", 7)),
    (T.small > any_([9, 5]), '"t"."small" > ANY ($1::bigint[])', [[9, 5]], True),
    (T.small > all_([9, 5]), '"t"."small" > ALL ($1::bigint[])', [[9, 5]], False),
    (T.small >= all_(select(T.small)), '"t"."small" >= ALL (\n    SELECT "t"."small"\n    FROM "t"\n)', [], True),
    (literal("a") == any_(T.tags), '$1::text = ANY ("t"."tags")', ["a"], True),
    (case((T.small > 5, "big"), else_="small"), 'CASE WHEN "t"."small" > $1 THEN $2::text ELSE $3::text END', [5, "big", "small"], "big"),
    (case((T.small > 9, T.name), (T.on, "on")), 'CASE WHEN "t"."small" > $1 THEN "t"."name" WHEN "t"."on" THEN $2::text END',
     [9, "on"], "on"),
    (case((T.nick == "x", 1)), 'CASE WHEN "t"."nick" = $1 THEN $2::bigint END', ["x", 1], None),
    (coalesce(T.nick, T.name), 'coalesce("t"."nick", "t"."name")', [], "Ada Lovelace"),
    (nullif(T.small, 7), 'nullif("t"."small", $1)', [7], None),
    (greatest(T.small, 9), 'greatest("t"."small", $1)', [9], 9),
    (least(T.d, Decimal(1)), 'least("t"."d", $1)', [Decimal(1)], Decimal(1)),
    (cast(T.small, str), '"t"."small"::text', [], "7"),
    (coalesce(T.nick == "x", False), 'coalesce("t"."nick" = $1, $2)', ["x", False], False),
    (T.nick.is_distinct_from("x"), '"t"."nick" IS DISTINCT FROM $1', ["x"], True),
]  # fmt: skip

MOMENTS: list[Case] = [
    (T.at.at_time_zone("Europe/Rome"), '"t"."at" AT TIME ZONE $1', ["Europe/Rome"], datetime.datetime(2024, 2, 29, 13, 30)),
    (T.clock.at_time_zone("Europe/Rome"), '"t"."clock" AT TIME ZONE $1', ["Europe/Rome"], MOMENT - HOUR),
    ((T.at + T.span).at_time_zone("UTC"), '("t"."at" + "t"."span") AT TIME ZONE $1', ["UTC"], datetime.datetime(2024, 2, 29, 13, 30)),
    (T.clock < datetime.datetime(2024, 3, 1), '"t"."clock" < $1', [datetime.datetime(2024, 3, 1)], True),
    (T.at + HOUR, '"t"."at" + $1::interval', [HOUR], MOMENT + HOUR),
    (T.at + Interval.of(months=1), '"t"."at" + $1::interval', [Interval(1)], MOMENT.replace(month=3)),
    (T.at - T.at, '"t"."at" - "t"."at"', [], datetime.timedelta()),
    (T.clock - T.clock, '"t"."clock" - "t"."clock"', [], datetime.timedelta()),
    (T.day + 1, '"t"."day" + $1', [1], DAY + datetime.timedelta(1)),
    (T.day - DAY, '"t"."day" - $1', [DAY], 0),
    (T.day + HOUR, '"t"."day" + $1::interval', [HOUR], datetime.datetime(2024, 2, 29, 1)),
    (T.day + datetime.time(1), '"t"."day" + $1::time', [datetime.time(1)], datetime.datetime(2024, 2, 29, 1)),
    (T.time + HOUR, '"t"."time" + $1::interval', [HOUR], datetime.time(13, 30)),
    (T.time - T.time, '"t"."time" - "t"."time"', [], datetime.timedelta()),
    (T.span * 2, '"t"."span" * $1::bigint', [2], 2 * HOUR),
    (T.span / 2.5, '"t"."span" / $1::double precision', [2.5], HOUR / 2.5),
    (-T.span, '-"t"."span"', [], -HOUR),
    (T.span > datetime.timedelta(0), '"t"."span" > $1', [datetime.timedelta(0)], True),
    (extract("year", T.at), 'EXTRACT(year FROM "t"."at")', [], Decimal(2024)),
    (func.date_trunc("hour", T.at), 'date_trunc($1::text, "t"."at")', ["hour"], MOMENT.replace(minute=0)),
    (func.date_trunc("month", T.day), 'date_trunc($1::text, "t"."day")', ["month"], datetime.datetime(2024, 2, 1, tzinfo=datetime.UTC)),
    (func.age(T.at, T.at - datetime.timedelta(40)), 'age("t"."at", "t"."at" - $1::interval)', [datetime.timedelta(40)], Interval(1, 9)),
]  # fmt: skip

FUNCTIONS: list[Case] = [
    (func.string_agg(T.name + "!", ", ", order_by=T.name + "?", where=T.small > 1).as_("x"),
     'string_agg("t"."name" || $1, $2::text ORDER BY "t"."name" || $3) FILTER (WHERE "t"."small" > $4)',
     ["!", ", ", "?", 1], "Ada Lovelace!"),
    (func.percentile_cont(0.5, within_group=T.f + 1), 'percentile_cont($1::double precision) WITHIN GROUP (ORDER BY "t"."f" + $2)',
     [0.5, 1], 2.5),
    (func.lag(T.small + 1, 1, 0).over(partition_by=T.small + 2, order_by=T.id + 3, rows=(-4, 5)),
     'lag("t"."small" + $1, $2::integer, $3::integer) OVER (PARTITION BY "t"."small" + $4 ORDER BY "t"."id" + $5 '
     "ROWS BETWEEN $6::bigint PRECEDING AND $7::bigint FOLLOWING)", [1, 1, 0, 2, 3, 4, 5], 0),
    (func.length(T.name), 'length("t"."name")', [], 12),
    (func.round(T.d, 1), 'round("t"."d", $1::integer)', [1], Decimal("2.5")),
    (func.power(T.small, 2), 'power("t"."small", $1::integer)', [2], 49.0),
    (func.split_part(T.name, " ", 2), 'split_part("t"."name", $1::text, $2::integer)', [" ", 2], "Lovelace"),
    (func.concat(T.name, None, 1), 'concat("t"."name", NULL, $1::integer)', [1], "Ada Lovelace1"),
    (func.array_agg(T.name, order_by=T.small.desc(), distinct=False), 'array_agg("t"."name" ORDER BY "t"."small" DESC)', [],
     ["Ada Lovelace"]),
    (func.string_agg(T.name, ", ", order_by=T.name, where=T.small > 1),
     'string_agg("t"."name", $1::text ORDER BY "t"."name") FILTER (WHERE "t"."small" > $2)', [", ", 1], "Ada Lovelace"),
    (func.array_agg(T.small, where=T.small > 9), 'array_agg("t"."small") FILTER (WHERE "t"."small" > $1)', [9], None),
    (func.bool_and(T.on), 'bool_and("t"."on")', [], True),
    (func.jsonb_agg(T.small), 'jsonb_agg("t"."small")', [], [7]),
    (func.jsonb_object_agg(T.name, T.small), 'jsonb_object_agg("t"."name", "t"."small")', [], {"Ada Lovelace": 7}),
    (func.percentile_cont(0.5, within_group=T.small),
     'percentile_cont($1::double precision) WITHIN GROUP (ORDER BY "t"."small")', [0.5], 7.0),
    (func.percentile_disc(0.5, within_group=T.d), 'percentile_disc($1::double precision) WITHIN GROUP (ORDER BY "t"."d")',
     [0.5], Decimal("2.50")),
    (func.mode(within_group=T.name), 'mode() WITHIN GROUP (ORDER BY "t"."name")', [], "Ada Lovelace"),
    (func.stddev_pop(T.small), 'stddev_pop("t"."small")', [], Decimal(0)),
    (func.regr_count(T.f, T.f), 'regr_count("t"."f", "t"."f")', [], 1),
    (avg(T.v), 'avg("t"."v")', [], [3.0, 4.0]),
    (func.rank().over(partition_by=T.on, order_by=T.small.desc()), 'rank() OVER (PARTITION BY "t"."on" ORDER BY "t"."small" DESC)', [], 1),
    (func.row_number().over(), "row_number() OVER ()", [], 1),
    (func.ntile(4).over(order_by=T.id), 'ntile($1::integer) OVER (ORDER BY "t"."id")', [4], 1),
    (func.lag(T.name).over(order_by=T.id), 'lag("t"."name") OVER (ORDER BY "t"."id")', [], None),
    (func.lag(T.name, 1, "none").over(order_by=T.id), 'lag("t"."name", $1::integer, $2::text) OVER (ORDER BY "t"."id")', [1,
     "none"], "none"),
    (func.first_value(T.small).over(order_by=T.id), 'first_value("t"."small") OVER (ORDER BY "t"."id")', [], 7),
    (sum_(T.small).over(order_by=T.id, rows=(-2, 0)),
     'sum("t"."small") OVER (ORDER BY "t"."id" ROWS BETWEEN $1::bigint PRECEDING AND CURRENT ROW)::bigint', [2], 7),
    (count(where=T.on).over(order_by=(T.id, T.small), rows=(None, None), exclude="current row"),
     'count(*) FILTER (WHERE "t"."on") OVER (ORDER BY "t"."id", "t"."small" '
     "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW)", [], 0),
    (count().over(order_by=T.at, range_=(datetime.timedelta(-7), datetime.timedelta(0))),
     'count(*) OVER (ORDER BY "t"."at" RANGE BETWEEN $1::interval PRECEDING AND CURRENT ROW)', [datetime.timedelta(7)], 1),
    (count().over(order_by=T.at, groups=(0, 1), exclude="ties"),
     'count(*) OVER (ORDER BY "t"."at" GROUPS BETWEEN CURRENT ROW AND $1::bigint FOLLOWING EXCLUDE TIES)', [1], 1),
    (count().over(window(order_by=T.id)), 'count(*) OVER (ORDER BY "t"."id")', [], 1),
]  # fmt: skip

JSON: list[Case] = [
    (T.j["a"]["b"][0], '"t"."j" -> $1 -> $2 -> $3', ["a", "b", 0], 1),
    (T.j["s"].as_text(), '"t"."j" ->> $1', ["s"], "x"),
    (T.j["n"].as_int(), '("t"."j" ->> $1)::bigint', ["n"], 5),
    (T.j["n"].as_value(Decimal) + Decimal(1), '("t"."j" ->> $1)::numeric + $2', ["n", Decimal(1)], Decimal(6)),
    (T.j["z"].as_text(), '"t"."j" ->> $1', ["z"], None),
    (T.j["none"], '"t"."j" -> $1', ["none"], None),
    (T.j.path("a", "b", 1), '"t"."j" #> $1::text[]', [["a", "b", "1"]], 2),
    (T.j.path("a", "b", 1).as_int(), '("t"."j" #>> $1::text[])::bigint', [["a", "b", "1"]], 2),
    (T.j["s"] == "x", '"t"."j" -> $1 = $2', ["s", "x"], True),
    (T.j.contains({"n": 5}), '"t"."j" @> $1', [{"n": 5}], True),
    (T.j["a"].contained_by({"b": [1, 2, 3]}), '"t"."j" -> $1 <@ $2', ["a", {"b": [1, 2, 3]}], True),
    (T.j.has_key("a"), '"t"."j" ? $1', ["a"], True),
    (T.j.has_any_key(["q", "a"]), '"t"."j" ?| $1', [["q", "a"]], True),
    (T.j.has_all_keys(["q", "a"]), '"t"."j" ?& $1', [["q", "a"]], False),
    (jsonb.set_(T.j, ["a"], 1)["a"], 'jsonb_set("t"."j", $1::text[], $2::jsonb, $3::boolean) -> $4', [["a"], 1, True, "a"], 1),
    (jsonb.set_(T.j, ["a"], T.small)["a"], 'jsonb_set("t"."j", $1::text[], to_jsonb("t"."small"), $2::boolean) -> $3', [["a"],
     True, "a"], 7),
    (jsonb.insert(T.j["a"]["b"], [0], 9), 'jsonb_insert("t"."j" -> $1 -> $2, $3::text[], $4::jsonb, $5::boolean)',
     ["a", "b", ["0"], 9, False], [9, 1, 2]),
    (jsonb.merge(T.j["a"], {"c": 1}), '"t"."j" -> $1 || $2::jsonb', ["a", {"c": 1}], {"b": [1, 2], "c": 1}),
    (jsonb.delete(T.j, "a", "n", "z"), '"t"."j" - $1::text[]', [["a", "n", "z"]], {"s": "x"}),
    (jsonb.delete(T.j["a"]["b"], 0), '("t"."j" -> $1 -> $2) - $3::integer', ["a", "b", 0], [2]),
    (jsonb.delete_path(T.j["a"], "b", 0), '"t"."j" -> $1 #- $2::text[]', ["a", ["b", "0"]], {"b": [2]}),
    (jsonb.path_exists(T.j, "$.a.b[*] ? (@ > $least)", {"least": 1}),
     'jsonb_path_exists("t"."j", $1::jsonpath, $2::jsonb)', ["$.a.b[*] ? (@ > $least)", {"least": 1}], True),
    (jsonb.path_match(T.j, "$.n > 3"), 'jsonb_path_match("t"."j", $1::jsonpath)', ["$.n > 3"], True),
    (jsonb.path_query_array(T.j, "$.a.b[*]"), 'jsonb_path_query_array("t"."j", $1::jsonpath)', ["$.a.b[*]"], [1, 2]),
    (jsonb.path_query_first(T.j, "$.a.b[*]"), 'jsonb_path_query_first("t"."j", $1::jsonpath)', ["$.a.b[*]"], 1),
    (jsonb.array_length(T.j["a"]["b"]), 'jsonb_array_length("t"."j" -> $1 -> $2)', ["a", "b"], 2),
    (jsonb.type_of(T.j), 'jsonb_typeof("t"."j")', [], "object"),
    (jsonb.strip_nulls(T.j)["z"], 'jsonb_strip_nulls("t"."j") -> $1', ["z"], None),
    (jsonb.build_object(name=T.name, n=1, nothing=None), 'jsonb_build_object($1::text, "t"."name", $2::text, $3::integer, $4::text, NULL)',
     ["name", "n", 1, "nothing"], {"name": "Ada Lovelace", "n": 1, "nothing": None}),
    (jsonb.build_array(T.small, "x"), 'jsonb_build_array("t"."small", $1::text)', ["x"], [7, "x"]),
    (jsonb.to_jsonb(T.tags), 'to_jsonb("t"."tags")', [], ["a", "b"]),
    (T.h["k"], '"t"."h" -> $1', ["k"], "v"),
    (T.h.has_key("n"), '"t"."h" ? $1', ["n"], True),
    (T.h.contains({"k": "v"}), '"t"."h" @> $1::hstore', [{"k": "v"}], True),
    (T.h + T.h, '"t"."h" || "t"."h"', [], {"k": "v", "n": None}),
    (hstore.keys(T.h), 'akeys("t"."h")', [], ["k", "n"]),
    (hstore.values(T.h), 'avals("t"."h")', [], ["v", None]),
    (hstore.delete(T.h, "n"), '"t"."h" - $1::text[]', [["n"]], {"k": "v"}),
    (hstore.slice_(T.h, ["n"]), 'slice("t"."h", $1::text[])', [["n"]], {"n": None}),
    (hstore.is_defined(T.h, "n"), 'defined("t"."h", $1::text)', ["n"], False),
    (hstore.to_jsonb(T.h), 'hstore_to_jsonb("t"."h")', [], {"k": "v", "n": None}),
]  # fmt: skip

CONTAINERS: list[Case] = [
    (T.tags[1], '"t"."tags"[$1::integer]', [1], "a"),
    (T.tags[9], '"t"."tags"[$1::integer]', [9], None),
    (T.tags[1:1], '"t"."tags"[$1::integer:$2::integer]', [1, 1], ["a"]),
    ((T.tags + literal(["c"]))[2:3], '("t"."tags" || $1::text[])[$2::integer:$3::integer]', [["c"], 2, 3], ["b", "c"]),
    (T.tags[2:], '"t"."tags"[$1::integer:]', [2], ["b"]),
    ((T.tags + T.tags)[3], '("t"."tags" || "t"."tags")[$1::integer]', [3], "a"),
    (T.tags.contained_by(["a", "b", "c"]), '"t"."tags" <@ $1', [["a", "b", "c"]], True),
    (array([T.name, "x"]), 'ARRAY["t"."name", $1::text]', ["x"], ["Ada Lovelace", "x"]),
    (array(select(T.small)), 'ARRAY(\n    SELECT "t"."small"\n    FROM "t"\n)', [], [7]),
    (arrays.length(T.tags), 'cardinality("t"."tags")', [], 2),
    (arrays.append(T.tags, "c"), 'array_append("t"."tags", $1::text)', ["c"], ["a", "b", "c"]),
    (arrays.prepend("c", T.tags), 'array_prepend($1::text, "t"."tags")', ["c"], ["c", "a", "b"]),
    (arrays.concat(T.tags, ["c"]), 'array_cat("t"."tags", $1::text[])', [["c"]], ["a", "b", "c"]),
    (arrays.remove(T.tags, "a"), 'array_remove("t"."tags", $1::text)', ["a"], ["b"]),
    (arrays.replace(T.tags, "a", "c"), 'array_replace("t"."tags", $1::text, $2::text)', ["a", "c"], ["c", "b"]),
    (arrays.position(T.tags, "b"), 'array_position("t"."tags", $1::text)', ["b"], 2),
    (arrays.positions(T.tags, "b"), 'array_positions("t"."tags", $1::text)', ["b"], [2]),
    (arrays.trim(T.tags, 1), 'trim_array("t"."tags", $1::integer)', [1], ["a"]),
    (arrays.to_text(T.tags, "-"), 'array_to_string("t"."tags", $1::text)', ["-"], "a-b"),
    (T.r.contains(4), '"t"."r" @> $1::bigint', [4], True),
    (T.r.contains(Range(2, 3)), '"t"."r" @> $1::int8range', [Range(2, 3)], True),
    (T.r.contains(T.small), '"t"."r" @> "t"."small"::bigint', [], False),
    (T.r.contains(Multirange([Range(1, 2)])), '"t"."r" @> $1::int8multirange', [Multirange([Range(1, 2)])], True),
    (T.r.contained_by(Range(0, 9)), '"t"."r" <@ $1::int8range', [Range(0, 9)], True),
    (T.during.overlaps(Range(MOMENT, None)), '"t"."during" && $1::tstzrange', [Range(MOMENT, None)], True),
    (T.during.contains(MOMENT), '"t"."during" @> $1::timestamptz', [MOMENT], True),
    (T.m.contains(3), '"t"."m" @> $1::bigint', [3], False),
    (T.r + T.r, '"t"."r" + "t"."r"', [], Range(1, 5)),
    (T.r * Range(4, 9), '"t"."r" * $1', [Range(4, 9)], Range(4, 5)),
    (T.m - Multirange([Range(1, 2)]), '"t"."m" - $1', [Multirange([Range(1, 2)])], Multirange([Range(2, 3), Range(5, 7)])),
    (ranges.lower(T.r), 'lower("t"."r")', [], 1),
    (ranges.upper(T.m), 'upper("t"."m")', [], 7),
    (ranges.is_empty(T.r), 'isempty("t"."r")', [], False),
    (ranges.lower_inclusive(T.r), 'lower_inc("t"."r")', [], True),
    (ranges.upper_inclusive(T.r), 'upper_inc("t"."r")', [], False),
    (ranges.lower_infinite(T.r), 'lower_inf("t"."r")', [], False),
    (ranges.upper_infinite(T.r), 'upper_inf("t"."r")', [], False),
    (ranges.adjacent(T.r, Range(5, 6)), '"t"."r" -|- $1::int8range', [Range(5, 6)], True),
    (ranges.before(T.r, Range(7, 8)), '"t"."r" << $1::int8range', [Range(7, 8)], True),
    (ranges.after(T.r, Range(7, 8)), '"t"."r" >> $1::int8range', [Range(7, 8)], False),
    (ranges.ends_within(T.r, Range(0, 5)), '"t"."r" &< $1::int8range', [Range(0, 5)], True),
    (ranges.begins_within(T.r, Range(0, 5)), '"t"."r" &> $1::int8range', [Range(0, 5)], True),
    (ranges.merge(T.r, Range(8, 9)), 'range_merge("t"."r", $1::int8range)', [Range(8, 9)], Range(1, 9)),
    (ranges.span(T.m), 'range_merge("t"."m")', [], Range(1, 7)),
    (ranges.multirange(T.r), 'multirange("t"."r")', [], Multirange([Range(1, 5)])),
    (ranges.aggregate(T.r), 'range_agg("t"."r")', [], Multirange([Range(1, 5)])),
    (networks.within(T.ip, ipaddress.ip_network("10.0.0.0/24")), '"t"."ip" <<= $1::cidr', [ipaddress.ip_network("10.0.0.0/24")], True),
    (networks.strictly_within(T.ip, T.net), '"t"."ip" << "t"."net"', [], True),
    (networks.holds(T.net, ipaddress.ip_address("10.1.1.1")), '"t"."net" >>= $1::inet', [ipaddress.ip_address("10.1.1.1")], True),
    (networks.overlap(T.net, T.ip), '"t"."net" && "t"."ip"', [], True),
    (networks.version(T.ip), 'family("t"."ip")', [], 4),
    (networks.mask_length(T.net), 'masklen("t"."net")', [], 8),
    (networks.host(T.ip), 'host("t"."ip")', [], "10.0.0.5"),
    (networks.network(T.ip), 'network("t"."ip")', [], ipaddress.ip_network("10.0.0.5/32")),
    (networks.broadcast(T.net), 'broadcast("t"."net")', [], ipaddress.ip_interface("10.255.255.255/8")),
    (T.place.field("street", str), '("t"."place")."street"', [], "Main"),
    (T.place == Place("Main", 5), '"t"."place" = $1::"place"', [Place("Main", 5)], True),
    (T.v.l2_distance([0, 0]), '"t"."v" <-> $1::vector', [[0, 0]], 5.0),
    (T.v.inner_product([1, 1]), '"t"."v" <#> $1::vector', [[1, 1]], -7.0),
    (T.v.cosine_distance([3, 4]), '"t"."v" <=> $1::vector', [[3, 4]], 0.0),
    (T.v.l1_distance([0, 0]), '"t"."v" <+> $1::vector', [[0, 0]], 7.0),
    (T.v + T.v, '"t"."v" + "t"."v"', [], [6.0, 8.0]),
    (cast(func.vector_dims(T.v, returns=INTEGER), DOUBLE), 'vector_dims("t"."v")::double precision', [], 2.0),
]  # fmt: skip

_WORDS = search.to_tsvector(T.name, language="english")
_QUERY = search.websearch_to_tsquery("ada -bob", language="english")
_WORDS_TEXT = 'to_tsvector($1::regconfig, "t"."name")'
SEARCHED: list[Case] = [
    (_WORDS, _WORDS_TEXT, ["english"], "'ada':1 'lovelac':2"),
    (search.matches(_WORDS, _QUERY), _WORDS_TEXT + " @@ websearch_to_tsquery($2::regconfig, $3::text)", ["english",
     "english", "ada -bob"], True),
    (search.matches(_WORDS, TsQuery("'bob'")), _WORDS_TEXT + " @@ $2::tsquery", ["english", "'bob'"], False),
    (search.setweight(_WORDS, "A"), f'setweight({_WORDS_TEXT}, $2::text::"char")', ["english", "A"], "'ada':1A 'lovelac':2A"),
    (search.rank(_WORDS, TsQuery("'ada'"), weights=[0.1, 0.2, 0.4, 1.0]) > 0.05,
     'ts_rank($1::real[], to_tsvector($2::regconfig, "t"."name"), $3::tsquery, $4::integer) > $5',
     [[0.1, 0.2, 0.4, 1.0], "english", "'ada'", 0, 0.05], True),
    (search.rank_cd(_WORDS, TsQuery("'ada'")) > 0.05, f"ts_rank_cd({_WORDS_TEXT}, $2::tsquery, $3::integer) > $4", ["english",
     "'ada'", 0, 0.05], True),
    (search.headline(T.name, TsQuery("'ada'"), language="english", options="StartSel=<, StopSel=>"),
     'ts_headline($1::regconfig, "t"."name", $2::tsquery, $3::text)', ["english", "'ada'", "StartSel=<, StopSel=>"],
     "<Ada> Lovelace"),
    (search.both(TsQuery("'a'"), search.negated(TsQuery("'b'"))), "$1::tsquery && !! $2::tsquery", ["'a'", "'b'"], "'a' & !'b'"),
    (search.either(search.plainto_tsquery("a b"), search.phraseto_tsquery("c d")),
     "plainto_tsquery($1::text) || phraseto_tsquery($2::text)",
     ["a b", "c d"], "'b' | 'c' <-> 'd'"),
    (search.to_tsquery("fat & rat", language="simple"), "to_tsquery($1::regconfig, $2::text)", ["simple", "fat & rat"],
     "'fat' & 'rat'"),
    (search.length(_WORDS), f"length({_WORDS_TEXT})", ["english"], 2),
    (trigram.similarity(T.name, "Ada Lovelase") > 0.5, 'similarity("t"."name", $1::text) > $2', ["Ada Lovelase", 0.5], True),
    (trigram.similar(T.name, "Ada Lovelase"), '"t"."name" % $1::text', ["Ada Lovelase"], True),
    (trigram.word_similarity("lovelace", T.name), 'word_similarity($1::text, "t"."name")', ["lovelace"], 1.0),
    (trigram.strict_word_similarity("lovelace", T.name), 'strict_word_similarity($1::text, "t"."name")', ["lovelace"], 1.0),
    (trigram.word_similar("lovelace", T.name), '"t"."name" %> $1::text', ["lovelace"], True),
    (trigram.distance(T.name, "Ada Lovelace"), '"t"."name" <-> $1::text', ["Ada Lovelace"], 0.0),
    (trigram.word_distance("lovelace", T.name), '"t"."name" <->> $1::text', ["lovelace"], 0.0),
]  # fmt: skip

EVERYTHING = OPERATORS + MOMENTS + FUNCTIONS + JSON + CONTAINERS + SEARCHED
