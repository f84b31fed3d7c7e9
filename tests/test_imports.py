"""`import trioorm` loads models and statements, `open_database` what every program needs that opens one, and neither loads anything else:
which modules come with it is a fact, its time only a figure."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

import trioorm

PACKAGE = Path(trioorm.__file__).parent
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
FACES = ["trioorm", *(f"trioorm.{room}" for room in ROOMS)]

_MODELS = """
import trioorm
class User(trioorm.Model, table="users"):
    id: trioorm.Column[int] = trioorm.column(primary_key=True)
statement = trioorm.select(User).where(User.id == 1)
"""
_OPENS = "from trioorm import open_database"
_USES = """
import {loop}
from trioorm import Column, Many, Model, One, belongs_to, column, has_many, open_database, select, update
class Owner(Model, table="owners"):
    id: Column[int] = column(primary_key=True, generated=True)
    name: Column[str | None]
    pets: Many["Pet"] = has_many(foreign_key="owner_id")
class Pet(Model, table="pets"):
    id: Column[int] = column(primary_key=True, generated=True)
    owner_id: Column[int]
    owner: One[Owner] = belongs_to(foreign_key="owner_id")
async def main():
    async with open_database({conninfo!r}) as db:
        owner = await db.insert(Owner(name="Ada"))
        assert await db.get(Owner, owner.id) == owner
        async with db.transaction() as tx:
            await tx.execute(update(Owner).set(Owner.name, "Eve").where(Owner.id == owner.id))
        assert await db.fetch_all(select(Owner.name).where(Owner.id > 0).order_by(Owner.id)) == ["Eve"]
{loop}.run({main})
"""


def loaded_by(program: str, before: str = "") -> set[str]:
    """The modules that a program loads in an interpreter of its own, besides those that are there before."""
    whole = f"import sys\n{before}\nbefore = set(sys.modules)\n{program}\nprint(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", whole], check=False, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    return loaded_by(_OPENS, before="import psycopg, trio")


def given_later(face: str) -> dict[str, list[str]]:
    """By module, what a face gives out without importing it beforehand."""
    for node in ast.walk(_tree(face)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "given_later":
            found: dict[str, str] = ast.literal_eval(node.args[1])
            return {module: names.split() for module, names in found.items()}
    return {}


def _tree(face: str) -> ast.Module:
    path = PACKAGE.joinpath(*face.split(".")[1:], "__init__.py")
    return ast.parse(path.read_text(encoding="utf-8"))


def test_of_other_packages_only_anyio_comes_with_it(loaded: set[str]) -> None:
    others = {name.split(".")[0] for name in loaded} - {"trioorm"}
    # uuid is the class of a column
    assert others <= {"anyio", "uuid", "_uuid"}
    assert not [name for name in loaded if name.startswith("anyio._backends")], "the backend that does not run is never loaded"


def test_models_and_statements_need_neither_driver_nor_event_loop() -> None:
    loaded = loaded_by(_MODELS)
    assert not loaded & {"anyio", "asyncio", "psycopg", "sniffio", "trio"}
    rooms = {name.split(".")[1] for name in loaded if name.startswith("trioorm.")}
    assert rooms == {"errors", "expression", "later", "model", "query", "schema"}


@pytest.mark.parametrize("text", ["str(statement)", "statement.sql().text"])
def test_a_statement_shows_itself_where_nothing_else_was_asked_for(text: str) -> None:
    loaded = loaded_by(f'{_MODELS}\nassert {text}.startswith(\'SELECT "users"."id"\'), {text}')
    assert "trioorm.compiler" in loaded
    assert not [name for name in loaded if name.startswith("trioorm.wire")]


def test_a_figure_can_be_selected_where_nothing_else_was_asked_for() -> None:
    program = f"{_MODELS}\nassert 'count(*)' in str(trioorm.select(User, User.others.count()))"
    program = program.replace("statement =", '    others: trioorm.Many["User"] = trioorm.has_many(foreign_key="id")\nstatement =')
    assert "trioorm.query.loading" in loaded_by(program)


@pytest.mark.parametrize(("loop", "main"), [("trio", "main"), ("asyncio", "main()")])
def test_what_every_program_uses_is_loaded_by_the_import_and_by_no_statement(dsn: str, loaded: set[str], loop: str, main: str) -> None:
    """So the figure of the import hides nothing: what comes later is AnyIO's own."""
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE owners (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text)")
    used = loaded_by(_USES.format(loop=loop, main=main, conninfo=dsn), before="import psycopg, trio")
    assert {name for name in used if name.startswith("trioorm")} == {name for name in loaded if name.startswith("trioorm")}
    backends = {name for name in used if name.startswith("anyio._backends.")}
    assert backends == {f"anyio._backends._{loop}"}, "the backend that does not run is never loaded"
    assert {name.split(".")[0] for name in used} <= {"anyio", "trioorm", "typing_extensions", "uuid", "_uuid"}


def test_no_more_modules_come_with_it_than_did(loaded: set[str]) -> None:
    """Each takes a tenth of a millisecond. Who needs one more for every program raises this, and who needs less lowers it."""
    assert len([name for name in loaded if name.startswith("trioorm")]) <= 147


def test_nothing_that_is_given_later_comes_with_it(loaded: set[str]) -> None:
    later = {module for face in FACES[1:] for module in given_later(face) if module != face}
    later |= {f"{face}.{name}" for face in FACES for name in given_later(face).get(face, [])}
    assert len(later) > 20
    assert not later & loaded


@pytest.mark.parametrize(
    "room",
    [
        "embedded", "testing", "compiler.loading", "database.copying", "database.explaining", "database.flight", "database.loading",
        "database.streaming", "expression.text_form", "model.tables", "query.keyset", "query.projection", "query.sharing",
        "query.value_rows",
    ],
)  # fmt: skip
def test_a_room_that_few_need_does_not_come_with_it(loaded: set[str], room: str) -> None:
    importlib.import_module(f"trioorm.{room}")  # it is there
    assert f"trioorm.{room}" not in loaded


@pytest.mark.parametrize("face", FACES)
def test_every_name_of_a_face_can_be_had(face: str) -> None:
    """In an interpreter of its own, in which nothing was asked for before."""
    program = f"import {face} as face; print(*[name for name in face.__all__ if name not in dir(face) or getattr(face, name) is None])"
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert answer.stdout.split() == []


@pytest.mark.parametrize("face", FACES)
def test_what_is_given_later_is_what_type_checkers_see(face: str) -> None:
    seen: dict[str, list[str]] = {}
    for node in ast.walk(_tree(face)):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.body:
                assert isinstance(statement, ast.ImportFrom)
                assert statement.module is not None
                seen[statement.module] = [alias.name for alias in statement.names]
    later = given_later(face)
    assert {module: sorted(names) for module, names in later.items()} == {module: sorted(names) for module, names in seen.items()}
    for module, names in later.items():
        for name in names:
            found: object = getattr(importlib.import_module(face), name)
            assert found is getattr(importlib.import_module(module), name)
            # The import system would put a module of this name in the place of what is meant.
            assert (PACKAGE.joinpath(*face.split(".")[1:], f"{name}.py").exists()) == (module == face)


def test_a_name_that_is_not_there_is_refused_as_by_any_module() -> None:
    with pytest.raises(AttributeError, match=r"^module 'trioorm' has no attribute 'selekt'$"):
        trioorm.selekt  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'selekt' from 'trioorm'"):
        exec("from trioorm import selekt")
