"""Hostile text through every public door: nothing but a bound value, a quoted identifier or (in DDL) a quoted constant reaches the SQL.

The table below has an entry for each parameter of a public callable that can be a `str`; the last test fails for one that is missing.
An entry makes SQL from a text. The SQL of a hostile text must be, quoted names and constants aside, that of a harmless one; where the text
is a value, it must be that very SQL. To be refused before anything is sent is as good.
"""

import contextlib
import enum
import functools
import importlib
import inspect
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import trioorm
from tests.expression.gallery import Place, Thing
from tests.query.shop import Order, User
from trioorm import (
    TEXT,
    BindError,
    Column,
    Model,
    ModelError,
    QueryError,
    Range,
    TsQuery,
    alias,
    arrays,
    check,
    column,
    composite_type,
    count,
    create_schema_statements,
    create_table_as,
    delete,
    domain_type,
    enum_type,
    exclude,
    extension,
    extract,
    foreign_key,
    func,
    generate_series,
    hstore,
    identifier,
    index,
    insert,
    jsonb,
    range_type,
    search,
    select,
    sequence,
    sql,
    table_function,
    trigram,
    unique,
    unnest,
    update,
    values_table,
    window,
)
from trioorm.query import Statement

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Texts go where checkers allow only some words: that is what is tested here.

HOSTILE = [
    "'; DROP TABLE t; --", '"; DROP TABLE t; --', '""; --', "'' OR 1=1 --", "*/ x /*", "\\", "\\'; --", "E'\\''", "$1", "$$", "$q$x$q$",
    "{x}", "{{x}}", "%s", "%(x)s", "é" * 31, "é" * 32, "a\0b", "", " ", "--", "\n; SELECT 1", "x" * 63, "x" * 64, "\u202e", "\ufeff",
    "\U0001f600", "select", "a.b", "ß\u0301", "\ud800",
]  # fmt: skip
REFUSED = (QueryError, ModelError, BindError)
HARMLESS = "harmless"
Door = Callable[[Any], str]


def text_of(*statements: Any) -> str:  # noqa: ANN401 - statements, and expressions to select
    texts: list[str] = []
    for each in statements:
        statement = each if isinstance(each, Statement) else select(each).from_(Thing)
        texts.append(statement.sql().text)
    return "\n".join(texts)


def ddl(*, types_: Any = str, parts: Any = None, extra: Any = None, table: Any = None, **options: Any) -> str:  # noqa: ANN401 - options of column()
    """The statements that make a table with a column of these options, and more constraints or indexes."""
    declare: Any = column
    wanted: Any = Column
    namespace: dict[str, Any] = {"id": declare(primary_key=True), "held": declare(**options)}
    namespace["__annotations__"] = {"id": wanted[int], "held": wanted[types_]}
    if extra is not None:
        kind, make = extra
        namespace[kind] = classmethod(lambda cls: iter([make(cls)]))
    make_model: Any = type(Model)
    model = make_model("Held", (Model,), namespace, **{"table": "held", **(table or {})})
    return "\n".join(create_schema_statements([*(parts or []), model]))


def constraint(make: Callable[[Any], Any]) -> str:
    return ddl(extra=("table_constraints", make))


def indexed(make: Callable[[Any], Any]) -> str:
    return ddl(extra=("table_indexes", make))


def cte(table: Any) -> str:  # noqa: ANN401 - a table of any columns
    return text_of(select(count()).from_(table))


def _members(text: str) -> Any:  # noqa: ANN401 - an enum
    return enum.Enum("Kind", {"A": text, "B": text + "x"})


_USERS = select(User.id, User.name)
_TEAM: Any = lambda text: _USERS.recursive_cte(text, lambda team: _USERS.join(team, team[User.id] == User.manager_id))  # noqa: E731 - a table in short
_QUERY = TsQuery("'a'")

NAMES: dict[str, Door] = {
    "Column.as_(name)": lambda t: text_of(select(User.age.as_(t)).order_by(User.age.as_(t))),
    "Column.collate(collation)": lambda t: text_of(Thing.name.collate(t)),
    "Column.over(window)": lambda t: text_of(select(func.rank().over(t)).from_(User).window(t, window())),
    "Select.window(name)": lambda t: text_of(select(func.rank().over(t)).from_(User).window(t, window(order_by=User.id))),
    "window(base)": lambda t: text_of(select(func.rank().over(window(base=t or "\0"))).from_(User).window(t, window())),
    "Combined.cte(name)": lambda t: cte(_USERS.union(_USERS).cte(t)),
    "Combined.lateral(name)": lambda t: text_of(_USERS.join(_USERS.union(_USERS).lateral(t))),
    "Combined.recursive_cte(name)": lambda t: cte(_TEAM(t)),
    "Combined.subquery(name)": lambda t: cte(_USERS.union(_USERS).subquery(t)),
    "Cte.alias(name)": lambda t: cte(_USERS.cte("c").alias(t)),
    "Cte.cycle(mark)": lambda t: cte(_TEAM("team").cycle(User.id, mark=t)),
    "Cte.cycle(path)": lambda t: cte(_TEAM("team").cycle(User.id, path=t)),
    "Cte.search_breadth_first(column)": lambda t: cte(_TEAM("team").search_breadth_first(User.id, column=t)),
    "Cte.search_depth_first(column)": lambda t: cte(_TEAM("team").search_depth_first(User.id, column=t)),
    "Delete.cte(name)": lambda t: text_of(_USERS.with_(delete(User).everywhere().cte(t))),
    "Returning.cte(name)": lambda t: cte(delete(User).everywhere().returning(User.id).cte(t)),
    "Insert.on_conflict(constraint)": lambda t: text_of(
        insert(User).values({"name": "a", "age": 1}).on_conflict(constraint=t).do_nothing()
    ),
    "Subquery.alias(name)": lambda t: cte(_USERS.subquery("s").alias(t)),
    "alias(name)": lambda t: text_of(select(alias(User, t).name)),
    "generate_series(name)": lambda t: cte(generate_series(1, 2, name=t)),
    "unnest(name)": lambda t: cte(unnest([1], name=t).with_ordinality()),
    "values_table(name)": lambda t: cte(values_table(t, [(1, "a")])),
    "table_function(name)": lambda t: cte(table_function(func.jsonb_array_elements(jsonb.build_array(1)), t)),
    "table_function(columns)": lambda t: cte(table_function(sql("f()").as_type(str), "x", columns={t: str})),
    "identifier(parts)": lambda t: text_of(sql("SELECT 1 FROM {name}", name=identifier(t, t))),
    "check(name)": lambda t: constraint(lambda m: check(m.id > 1, name=t)),
    "unique(name)": lambda t: constraint(lambda m: unique(m.id, m.held, name=t)),
    "foreign_key(name)": lambda t: constraint(lambda m: foreign_key(m.id, references=Order.id, name=t)),
    "exclude(name)": lambda t: constraint(lambda m: exclude((m.id, "="), name=t)),
    "index(name)": lambda t: indexed(lambda m: index(m.held, name=t)),
    "index(operator_class)": lambda t: indexed(lambda m: index(m.held, operator_class=t)),
    "index(options)": lambda t: indexed(lambda m: index(m.held, options={"fillfactor": t})),
    "index(options={name: ...})": lambda t: re.sub(r"WITH \([a-z_]+ =", "WITH (", indexed(lambda m: index(m.held, options={t: 1}))),
    "column(name)": lambda t: ddl(name=t, unique=True, index=True),
    "column(references)": lambda t: ddl(references=f"t.{t}"),
    "column(comment)": lambda t: ddl(comment=t),
    "composite_type(name)": lambda t: ddl(types_=Place, type=composite_type(Place, name=t)),
    "domain_type(name)": lambda t: ddl(type=domain_type(t, TEXT, check=lambda value: value != t)),
    "enum_type(name)": lambda t: ddl(types_=(kind := _members("a")), type=enum_type(kind, name=t)),
    "create_table_as(name)": lambda t: text_of(create_table_as(t, _USERS)),
    "create_table_as(schema)": lambda t: text_of(create_table_as("x", _USERS, schema=t)),
    "range_type(name)": lambda t: ddl(types_=Range[str], type=range_type(t, TEXT)),
    "range_type(difference)": lambda t: ddl(types_=Range[str], type=range_type("r", TEXT, difference=t)),
    "range_type(collation)": lambda t: ddl(types_=Range[str], type=range_type("r", TEXT, collation=t)),
    "extension(name)": lambda t: ddl(parts=[extension(t)]),
    "extension(schema)": lambda t: ddl(parts=[extension("hstore", schema=t)]),
    "extension(version)": lambda t: ddl(parts=[extension("hstore", version=t)]),
    "sequence(name)": lambda t: ddl(parts=[sequence(t)]),
    "sequence(schema)": lambda t: ddl(parts=[sequence("s", schema=t)]),
    # Not parameters of a function, but doors all the same.
    "class(table)": lambda t: ddl(table={"table": t}, unique=True, index=True),
    "class(schema)": lambda t: ddl(table={"schema": t}),
    "class(comment)": lambda t: ddl(table={"comment": t}),
    "labels of an enum": lambda t: ddl(types_=_members(t)),
    "column(default)": lambda t: ddl(server_default=t),
}

VALUES: dict[str, Door] = {
    "Column.at_time_zone(zone)": lambda t: text_of(Thing.at.at_time_zone(t)),
    "Column.has_all_keys(keys)": lambda t: text_of(Thing.j.has_all_keys([t])),
    "Column.has_any_key(keys)": lambda t: text_of(Thing.j.has_any_key([t])),
    "Column.has_key(key)": lambda t: text_of(Thing.j.has_key(t)),
    "Column.path(keys)": lambda t: text_of(Thing.j.path(t, 1).as_text()),
    "Column.starts_with(prefix)": lambda t: text_of(Thing.name.starts_with(t)),
    **{
        f"Column.{name}(pattern)": lambda t, name=name: text_of(getattr(Thing.name, name)(t))  # type: ignore[misc]
        for name in ("like", "ilike", "not_like", "not_ilike", "regex", "not_regex", "similar_to")
    },
    "Insert.values(rows)": lambda t: text_of(insert(User).values({"name": t, "age": 1})),
    "Insert.values_from(rows)": lambda t: text_of(insert(User).values_from([User(name=t, age=1), User(name="b", age=2)])),
    "Update.set_each(rows)": lambda t: text_of(update(User).set_each([{"id": 1, "name": t}])),
    "arrays.to_text(separator)": lambda t: text_of(arrays.to_text(Thing.tags, t)),
    "arrays.to_text(null)": lambda t: text_of(arrays.to_text(Thing.tags, ",", null=t)),
    "hstore.delete(names)": lambda t: text_of(hstore.delete(Thing.h, t)),
    "hstore.slice_(names)": lambda t: text_of(hstore.slice_(Thing.h, [t])),
    "hstore.is_defined(name)": lambda t: text_of(hstore.is_defined(Thing.h, t)),
    "jsonb.set_(path)": lambda t: text_of(jsonb.set_(Thing.j, [t], 1)),
    "jsonb.set_(value)": lambda t: text_of(jsonb.set_(Thing.j, ["a"], t)),
    "jsonb.insert(path)": lambda t: text_of(jsonb.insert(Thing.j, [t], 1)),
    "jsonb.insert(value)": lambda t: text_of(jsonb.insert(Thing.j, ["a"], t)),
    "jsonb.merge(other)": lambda t: text_of(jsonb.merge(Thing.j, {t: t})),
    "jsonb.delete(keys)": lambda t: text_of(jsonb.delete(Thing.j, t)),
    "jsonb.delete_path(path)": lambda t: text_of(jsonb.delete_path(Thing.j, t)),
    **{
        f"jsonb.{name}({parameter})": lambda t, name=name, parameter=parameter: text_of(  # type: ignore[misc]
            getattr(jsonb, name)(Thing.j, *((t,) if parameter == "jsonpath" else ("$", {t: t})))
        )
        for name in ("path_exists", "path_match", "path_query_array", "path_query_first")
        for parameter in ("jsonpath", "variables")
    },
    "jsonb.build_object(keys)": lambda t: text_of(jsonb.build_object(**{t: t})),
    **{
        f"search.{name}({parameter})": lambda t, name=name, parameter=parameter: text_of(  # type: ignore[misc]
            getattr(search, name)("a", language=t) if parameter == "language" else getattr(search, name)(t)
        )
        for name, first in (
            ("to_tsvector", "document"), ("to_tsquery", "query"), ("plainto_tsquery", "query"), ("phraseto_tsquery", "query"),
            ("websearch_to_tsquery", "query"),
        )
        for parameter in (first, "language")
    },
    "search.headline(document)": lambda t: text_of(search.headline(t, _QUERY)),
    "search.headline(language)": lambda t: text_of(search.headline("a", _QUERY, language=t)),
    "search.headline(options)": lambda t: text_of(search.headline("a", _QUERY, options=t or "x")),
    **{
        f"trigram.{name}(b)": lambda t, name=name: text_of(getattr(trigram, name)(Thing.name, t))  # type: ignore[misc]
        for name in ("similarity", "similar", "distance")
    },
    **{
        f"trigram.{name}(part)": lambda t, name=name: text_of(getattr(trigram, name)(t, Thing.name))  # type: ignore[misc]
        for name in ("word_similarity", "strict_word_similarity", "word_similar", "word_distance")
    },
    "comparison": lambda t: text_of(_USERS.where(User.name == t, User.name.in_([t]))),
    "set": lambda t: text_of(update(User).set(User.name, t).where(User.name == t)),
    "gap of sql()": lambda t: text_of(sql("SELECT {t}", t=t)),
    "argument of func": lambda t: text_of(func.concat(t, Thing.name)),
}  # fmt: skip

WORDS: dict[str, Callable[[str], object]] = {
    "Column.field(name)": lambda t: Thing.place.field(t, str),
    "Column.op(operator)": Thing.name.op,
    "ColumnRows.column(name)": lambda t: values_table("v", [(1, 2)]).column(t),
    "Combined.into(names)": lambda t: _USERS.union(_USERS).into(Place, t, t),
    "Returning.into(names)": lambda t: delete(User).everywhere().returning(User.name, User.age).into(Place, t, t),
    "Select.into(names)": lambda t: select(User.name, User.age).into(Place, t, t),
    "exclude(terms)": lambda t: constraint(lambda m: exclude((m.id, t))),
    "extract(field)": lambda t: extract(t, Thing.at),
}
"""What takes a word out of a list: any other is refused."""

EXCUSED = {
    "sql(text)": "the text is written in the program; type checkers refuse one that is not a literal",
    "open_database.__getattr__(name)": "only says that a Database must be entered first",
    "hstore.keys(store)": "an expression; the class of its values mentions str",
    "hstore.values(store)": "likewise",
    "hstore.delete(store)": "likewise",
    "hstore.slice_(store)": "likewise",
    "hstore.is_defined(store)": "likewise",
    "hstore.to_jsonb(store)": "likewise",
    "trigram.similarity(a)": "an expression of text",
    "trigram.similar(a)": "likewise",
    "trigram.distance(a)": "likewise",
    "trigram.word_similarity(whole)": "likewise",
    "trigram.strict_word_similarity(whole)": "likewise",
    "trigram.word_similar(whole)": "likewise",
    "trigram.word_distance(whole)": "likewise",
    "Database.snapshot(name)": "for error texts; nothing of it is sent",
    "Database.transaction(name)": "likewise",
    "Database.create_index(name)": "compared with the names of the model's indexes; whose names are above",
    "Database.copy_in(columns)": "sent to a server in tests/database/test_hostile_names.py",
    "Database.copy_in(on)": "likewise",
    "belongs_to(foreign_key)": "an attribute, looked up in the models",
    "has_many(foreign_key)": "likewise",
    "has_one(foreign_key)": "likewise",
    "many_to_many(foreign_key)": "likewise",
    "many_to_many(other_key)": "likewise",
    "many_to_many(through)": "likewise, or a model's name",
    "Database.advisory_lock(key)": "sent to a server in tests/database/test_hostile_names.py",
    "Database.listen(channels)": "likewise",
    "Database.notify(channel)": "likewise",
    "Database.notify(payload)": "likewise",
    "Database.transaction(role)": "likewise",
    "Database.transaction(settings)": "likewise",
    "Database.flight(name)": "for error texts; nothing of it is sent",
    "Database.flight(role)": "sent to a server in tests/database/test_hostile_names.py",
    "Database.flight(settings)": "likewise",
    "Flight.notify(channel)": "likewise",
    "Flight.notify(payload)": "likewise",
    "Savepoint.advisory_lock(key)": "likewise",
    "Savepoint.settings(role)": "likewise",
    "Savepoint.settings(values)": "likewise",
    "Snapshot.notify(channel)": "as Database.notify",
    "Snapshot.notify(payload)": "as Database.notify",
}

_QUOTED = re.compile(r"""\"(?:[^"]|"")*\"|'(?:[^']|'')*'""")


def skeleton(text: str) -> str:
    """The text with what stands in quotes left out, as PostgreSQL reads it (`standard_conforming_strings` is on)."""
    return _QUOTED.sub(lambda found: found.group()[0] * 2, text)


@pytest.mark.parametrize("door", NAMES)
def test_a_name_reaches_the_text_in_quotes_only(door: str) -> None:
    make = NAMES[door]
    harmless = skeleton(make(HARMLESS))
    for hostile in HOSTILE:
        try:
            made = make(hostile)
        except REFUSED:
            continue
        assert "\0" not in made
        assert skeleton(made).replace('"".""', '""') == harmless.replace('"".""', '""'), f"{hostile!r} came through:\n{made}"


@pytest.mark.parametrize("door", VALUES)
def test_a_value_leaves_the_text_alone(door: str) -> None:
    make = VALUES[door]
    harmless = make(HARMLESS)
    assert HARMLESS not in harmless
    for hostile in HOSTILE:
        assert make(hostile) == harmless


@pytest.mark.parametrize("door", WORDS)
def test_a_word_is_taken_from_a_list(door: str) -> None:
    for hostile in HOSTILE:
        with pytest.raises(REFUSED):
            WORDS[door](hostile)


@functools.cache
def _names_of_ours() -> dict[str, object]:
    """Whatever a module of the package has a name for."""
    paths = Path(trioorm.__file__).parent.rglob("*.py")
    modules = [".".join(path.relative_to(Path(trioorm.__file__).parent.parent).with_suffix("").parts) for path in paths]
    return {name: each for module in modules for name, each in vars(importlib.import_module(module.removesuffix(".__init__"))).items()}


def doors() -> Iterator[str]:
    """Each parameter of a public callable that can be a str."""
    seen: set[int] = set()
    for name in sorted(trioorm.__all__):
        thing = getattr(trioorm, name)
        if isinstance(thing, types.ModuleType):
            found = {
                f"{name}.{part}": each
                for part, each in vars(thing).items()
                if inspect.isfunction(each) and each.__module__ == thing.__name__
            }
        elif inspect.isclass(thing):
            if issubclass(thing, BaseException):
                continue
            found = {f"{name}.{part}": inspect.getattr_static(thing, part) for part in dir(thing)}
        else:
            found = {name: thing}
        for path, each in found.items():
            function = getattr(each, "__func__", each)
            part = path.rpartition(".")[2]
            ours = (getattr(function, "__module__", None) or "").startswith("trioorm")
            public = not part.startswith("_") or part in ("__getattr__", "__getitem__", "__call__")
            if not (inspect.isfunction(function) and ours and public) or id(function) in seen:
                continue
            seen.add(id(function))
            names = {**_names_of_ours(), **function.__globals__}  # some are imported for type checkers alone
            for parameter in inspect.signature(function).parameters.values():
                said = parameter.annotation
                if isinstance(said, str):  # an alias may hide a str
                    with contextlib.suppress(NameError, TypeError):  # cattrs need not be there, and an alias may be a text itself
                        said = eval(said.removeprefix("*"), names)
                if parameter.name != "self" and re.search(r"\bstr\b|LiteralString", str(said)):
                    yield f"{path}({parameter.name})"


def test_no_door_is_forgotten() -> None:
    known = {*NAMES, *VALUES, *WORDS, *EXCUSED}
    found = set(doors())
    assert len(found) > 90
    assert found - known == set(), "a new parameter takes a str; feed it hostile text here, or say in EXCUSED why not"
    assert set(EXCUSED) - found == set(), "these are no longer there"
