"""Each question of the cookbook: the SQL by hand and the builder's statement give the same rows, in the same order.

One database serves the whole module. Reads run in it as they are; a change runs twice, by hand and by the builder, each rolled back.
"""

import enum
import math
import uuid
from collections.abc import Iterator, Sequence
from typing import LiteralString, cast

import anyio
import attrs
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from examples.cookbook.data import stock
from examples.cookbook.page import PAGE, page
from examples.cookbook.questions import QUESTIONS
from examples.cookbook.recipes import Recipe
from trioorm import Model, TransactionRolledBack, open_database
from trioorm import sql as sql_text
from trioorm.compiler import compile_statement

READS = [recipe for recipe in QUESTIONS if recipe.look is None]
CHANGES = [recipe for recipe in QUESTIONS if recipe.look is not None]


@attrs.frozen
class Shelf:
    """The database with the films, which nobody changes, and a connection to it for the SQL by hand."""

    dsn: str
    connection: psycopg.Connection

    def by_hand(self, text: str, look: str | None = None) -> tuple[list[list[object]], list[list[object]]]:
        """The rows of a SQL text, and what `look` shows behind it; all is rolled back."""
        answers: list[list[list[object]]] = []
        for asked in (text, look):
            cursor = self.connection.execute(asked.encode()) if asked is not None else None
            rows = cursor.fetchall() if cursor is not None and cursor.description is not None else []
            answers.append([[plain(value) for value in row] for row in rows])
        self.connection.rollback()
        return answers[0], answers[1]


@pytest.fixture(scope="module")
def shelf(server_dsn: str) -> Iterator[Shelf]:
    """One for the whole module."""
    name = f"cookbook_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            dsn = make_conninfo(server_dsn, dbname=name)
            anyio.run(_stocked, dsn)
            with psycopg.connect(dsn, options="-c timezone=UTC") as asking:
                yield Shelf(dsn, asking)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def _stocked(dsn: str) -> None:
    async with open_database(dsn) as db:
        await stock(db)
        await db.execute(sql_text("ANALYZE"))


def plain(value: object) -> object:
    """A value as psycopg would give it: an enum's member is its label."""
    match value:
        case enum.Enum():
            return value.value
        case list():
            return [plain(item) for item in cast("list[object]", value)]
        case _:
            return value


def flat(row: object) -> list[object]:
    """A row of the builder as the values of its columns, objects taken apart."""
    if isinstance(row, Model):
        made = cast("attrs.AttrsInstance", row)
        return [plain(value) for value in attrs.astuple(made, recurse=False)]
    if isinstance(row, tuple):
        return [value for part in cast("tuple[object, ...]", row) for value in flat(part)]
    return [plain(row)]


def same(expected: Sequence[Sequence[object]], found: Sequence[Sequence[object]]) -> bool:
    return len(expected) == len(found) and all(
        len(one) == len(other) and all(_close(left, right) for left, right in zip(one, other, strict=True))
        for one, other in zip(expected, found, strict=True)
    )


def _close(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-6)
    return left == right


@pytest.mark.parametrize("recipe", READS, ids=lambda recipe: recipe.name)
async def test_a_question_has_the_answer_of_the_sql_by_hand(recipe: Recipe, shelf: Shelf) -> None:
    expected, _ = shelf.by_hand(recipe.sql)
    async with open_database(shelf.dsn, max_size=1) as db:
        found = [flat(row) for row in await db.fetch_all(recipe.statement())]
    assert expected, "a question without an answer shows nothing"
    assert same(expected, found), f"{recipe.statement()}\nby hand: {expected[:5]}\nby the builder: {found[:5]}"


@pytest.mark.parametrize("recipe", CHANGES, ids=lambda recipe: recipe.name)
async def test_a_change_leaves_what_the_sql_by_hand_leaves(recipe: Recipe, shelf: Shelf) -> None:
    look = cast("LiteralString", recipe.look)
    returned, expected = shelf.by_hand(recipe.sql, look)
    assert shelf.by_hand(look)[0] != expected, "a change that changes nothing shows nothing"
    statement = recipe.statement()
    rows: list[object] = []
    found: list[list[object]] = []
    async with open_database(shelf.dsn, max_size=1) as db:
        with pytest.raises(TransactionRolledBack):
            async with db.transaction() as tx:
                if compile_statement(statement).results:
                    rows = await tx.fetch_all(statement)
                else:
                    await tx.execute(statement)
                found = [flat(row) for row in await tx.fetch_all(sql_text(look))]
                tx.cancel_scope.cancel()
    assert same(returned, [flat(row) for row in rows])
    assert same(expected, found), f"{statement}\nby hand: {expected[:5]}\nby the builder: {found[:5]}"


def test_there_are_a_hundred_questions_and_each_has_its_own_name() -> None:
    assert len(QUESTIONS) >= 100
    assert len({recipe.name for recipe in QUESTIONS}) == len({recipe.title for recipe in QUESTIONS}) == len(QUESTIONS)


def test_the_page_is_made_from_the_questions() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m examples.cookbook.page"
