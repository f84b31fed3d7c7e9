"""Every operator and function that has a method or a name: its exact SQL and values, then its value on the real server."""

import pytest

from tests.expression.gallery import EVERYTHING, Case, Thing
from trioorm import extension, open_database, select
from trioorm.compiler import readable


@pytest.mark.parametrize("case", EVERYTHING, ids=[case[1][:80] for case in EVERYTHING])
def test_is_written(case: Case) -> None:
    expression, text, values, _ = case
    assert readable(expression.shape) == text
    assert list(expression.bind_values) == values


async def test_is_computed(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(*[extension(name) for name in ("citext", "hstore", "vector", "pg_trgm")], Thing)
        await db.insert(Thing(id=1))
        wrong: list[str] = []
        for expression, text, _, expected in EVERYTHING:
            try:
                (found,) = await db.fetch_all(select(expression).from_(Thing))
            except Exception as error:
                wrong.append(f"{text}\n    {type(error).__name__}: {error}")
                continue
            if found != expected or type(found) is bool is not type(expected):
                wrong.append(f"{text}\n    gave {found!r} and not {expected!r}")
        assert not wrong, "\n".join(wrong)
