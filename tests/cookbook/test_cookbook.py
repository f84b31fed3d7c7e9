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
from examples.cookbook.questions import RECIPES
from examples.cookbook.recipes import Recipe
from trioorm import Model, TransactionRolledBack, open_database
from trioorm import sql as sql_text
from trioorm.compiler import compile_statement

READS = [recipe for recipe in RECIPES if recipe.look is None]
CHANGES = [recipe for recipe in RECIPES if recipe.look is not None]


@pytest.fixture(scope="module")
def shelf(server_dsn: str) -> Iterator[str]:
    """The address of the database with the films; nobody changes it."""
    name = f"cookbook_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            dsn = make_conninfo(server_dsn, dbname=name)
            anyio.run(_stocked, dsn)
            yield dsn
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def _stocked(dsn: str) -> None:
    async with open_database(dsn) as db:
        await stock(db)
        await db.execute(sql_text("ANALYZE"))


def by_hand(dsn: str, text: str, look: str | None = None) -> tuple[list[list[object]], list[list[object]]]:
    """The rows of a SQL text, and what `look` shows behind it; all is rolled back."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        answers: list[list[list[object]]] = []
        for asked in (text, look):
            cursor = connection.execute(asked.encode()) if asked is not None else None
            rows = cursor.fetchall() if cursor is not None and cursor.description is not None else []
            answers.append([[plain(value) for value in row] for row in rows])
        connection.rollback()
    return answers[0], answers[1]


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
async def test_a_question_has_the_answer_of_the_sql_by_hand(recipe: Recipe, shelf: str) -> None:
    expected, _ = by_hand(shelf, recipe.sql)
    async with open_database(shelf, max_size=1) as db:
        found = [flat(row) for row in await db.fetch_all(recipe.statement())]
    assert expected, "a question without an answer shows nothing"
    assert same(expected, found), f"{recipe.statement()}\nby hand: {expected[:5]}\nby the builder: {found[:5]}"


@pytest.mark.parametrize("recipe", CHANGES, ids=lambda recipe: recipe.name)
async def test_a_change_leaves_what_the_sql_by_hand_leaves(recipe: Recipe, shelf: str) -> None:
    look = cast("LiteralString", recipe.look)
    returned, expected = by_hand(shelf, recipe.sql, look)
    assert by_hand(shelf, look)[0] != expected, "a change that changes nothing shows nothing"
    statement = recipe.statement()
    async with open_database(shelf, max_size=1) as db:
        with pytest.raises(TransactionRolledBack):
            async with db.transaction() as tx:
                gives_rows = bool(compile_statement(statement).results)
                rows = await tx.fetch_all(statement) if gives_rows else []
                if not gives_rows:
                    await tx.execute(statement)
                found = [flat(row) for row in await tx.fetch_all(sql_text(look))]
                tx.cancel_scope.cancel()
    assert same(returned, [flat(row) for row in rows])
    assert same(expected, found), f"{statement}\nby hand: {expected[:5]}\nby the builder: {found[:5]}"


def test_there_are_a_hundred_questions_and_each_has_its_own_name() -> None:
    assert len(RECIPES) >= 100
    assert len({recipe.name for recipe in RECIPES}) == len({recipe.title for recipe in RECIPES}) == len(RECIPES)
