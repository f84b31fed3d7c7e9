"""Prepared statements that do not fit any more: a table has changed, or the session has dropped them."""

import pytest

from trioorm import Column, DatabaseError, Model, column, open_database, select, sql


class Shelf(Model, table="shelf"):
    id: Column[int] = column(primary_key=True)
    name: Column[str]


_ALL = sql("SELECT * FROM shelf")


@pytest.mark.parametrize("forget", ["ALTER TABLE shelf ADD COLUMN width int", "DISCARD ALL", "DEALLOCATE ALL"])
async def test_outside_a_transaction_they_are_prepared_anew_without_a_word(dsn: str, forget: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Shelf)
        await db.insert(Shelf(id=1, name="top"))
        assert len(await db.fetch_all(_ALL)) == 1
        await db.execute(sql(forget))  # pyright: ignore[reportArgumentType] - written in this file
        (row,) = await db.fetch_all(_ALL)
        assert row[:2] == (1, "top")
        assert await db.fetch_one(select(Shelf)) == Shelf(id=1, name="top")


async def test_inside_a_transaction_the_first_use_fails_and_the_next_transaction_works(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Shelf)
        assert await db.fetch_all(_ALL) == []
        await db.execute(sql("ALTER TABLE shelf ADD COLUMN width int"))
        with pytest.raises(DatabaseError, match="cached plan must not change result type") as failure:
            async with db.transaction() as tx:
                await tx.fetch_all(_ALL)
        assert failure.value.sqlstate == "0A000"
        async with db.transaction() as tx:
            assert await tx.fetch_all(_ALL) == []
