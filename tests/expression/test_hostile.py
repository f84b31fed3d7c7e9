"""Hostile text, wherever an expression takes a name or a value: only bound values and quoted identifiers ever reach the SQL."""

from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.expression.gallery import Thing
from trioorm import (
    TEXT,
    Column,
    Expression,
    JsonCodec,
    Model,
    ModelError,
    QueryError,
    arrays,
    case,
    coalesce,
    column,
    composite_type,
    domain_type,
    extension,
    extract,
    func,
    jsonb,
    open_database,
    search,
    select,
    sql,
    trigram,
    window,
)
from trioorm.compiler import readable
from trioorm.expression import type_text

HOSTILE = ["'; DROP TABLE t; --", '"; DROP TABLE t; --', "*/ x /*", "\\'; --", "$1", "{x}", "%s", "é" * 40, "a\0b", "", "--", "x" * 64]

NAMES: list[Callable[[str], Expression[Any]]] = [
    Thing.name.collate,
    func.rank().over,
    lambda text: func.rank().over(window(base=text, order_by=Thing.id)),
]
WORDS: list[Callable[[Any], Any]] = [
    lambda text: extract(text, Thing.at),
    lambda text: getattr(func, text)(1),
    lambda text: search.setweight(search.to_tsvector(Thing.name), text),
    lambda text: func.rank().over(order_by=Thing.id, rows=(0, 0), exclude=text),
    lambda text: Thing.place.field(text, str),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_names_are_quoted_or_refused(text: str) -> None:
    for make in NAMES:
        if text == "" and make is NAMES[2]:
            continue  # no base at all
        try:
            written = readable(make(text).shape)
        except QueryError:
            assert not text or "\0" in text or len(text.encode()) > 63
        else:
            quoted = '"' + text.replace('"', '""') + '"'
            assert quoted in written
            assert text not in written.replace(quoted, "")


@pytest.mark.parametrize("text", [*HOSTILE, "= 1 OR 1 =", "+--", "/*", "<->;", "OPERATOR(pg_catalog.+)", "+ ", "é"])
def test_an_operator_is_written_with_operator_characters_only(text: str) -> None:
    with pytest.raises(QueryError, match="no name of an operator"):
        Thing.name.op(text)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("make", WORDS)
def test_words_are_taken_from_a_list(make: Callable[[Any], Any], text: str) -> None:
    with pytest.raises((QueryError, AttributeError)):
        make(text)


_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20) | st.sampled_from(
    [text for text in HOSTILE if "\0" not in text]
)


@hypothesis.settings(max_examples=25)
@hypothesis.given(text=_text)
async def test_values_come_back_as_they_went(dsn: str, text: str) -> None:
    """Through each place that takes a value: it is bound, so the server gives back the very text."""
    async with open_database(dsn, max_size=1) as db:
        if not await db.fetch_value(sql("SELECT to_regclass('t') IS NOT NULL").returns(bool)):
            await db.create_schema(*[extension(name) for name in ("citext", "hstore", "vector", "pg_trgm")], Thing)
            await db.insert(Thing(id=1))
        found = await db.fetch_one(
            select(
                case((Thing.on, text), else_="no"),
                coalesce(Thing.nick, text),
                jsonb.build_object(key=text)["key"].as_text(),
                jsonb.set_(Thing.j, [text], text)[text].as_text(),
                arrays.append(Thing.tags, text)[3],
                func.concat(text, None),
                Thing.h.has_key(text),
                Thing.j.contains({text: text}),
                func.length(text) + 0,
                trigram.similarity(Thing.name, text) >= 0,
            ).from_(Thing)
        )
        assert found[:6] == (text,) * 6
        assert found[6:] == (False, False, len(text), True)


def test_wrong_declarations_are_refused_when_they_are_made() -> None:
    class Plain:
        pass

    wrong: list[Callable[[], object]] = [
        lambda: composite_type(Plain),
        lambda: _model(Plain),
        lambda: _model(int, json=JsonCodec(str, int), type=TEXT),
        lambda: TEXT(5),
    ]
    for make in wrong:
        with pytest.raises(ModelError) as caught:
            make()
        assert "To fix it" in str(caught.value)
    with pytest.raises(QueryError, match="cannot be the name"):
        type_text(domain_type("", TEXT))


def _model(annotation: object, **options: Any) -> object:  # noqa: ANN401 - options of column()
    """A model with a column of this annotation, made as no type checker could see."""
    declare: Any = column
    namespace: dict[str, Any] = {"id": declare(primary_key=True), "held": declare(**({"json": True} | options))}
    wanted: Any = Column
    namespace["__annotations__"] = {"id": wanted[int], "held": wanted[annotation]}
    make: Any = type(Model)
    return make("Held", (Model,), namespace, table="held")
