"""create_schema and drop_schema on a real server: all or nothing, in the order of dependence."""

import pytest

from tests.database.zoo import Animal, Everything, Mood, Visit
from tests.wire.witness import Witness
from trioorm import DatabaseError, open_database

TABLES = "SELECT coalesce(string_agg(tablename, ' ' ORDER BY tablename), '') FROM pg_tables WHERE schemaname = 'public'"
ENUMS = "SELECT coalesce(string_agg(enumlabel, '|' ORDER BY enumsortorder), '') FROM pg_enum"


async def test_creates_tables_and_types_in_whatever_order_they_are_given(dsn: str, witness: Witness) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Visit, Everything, Animal)
        assert witness.value(TABLES) == "animals everything visits"
        assert witness.value(ENUMS) == "|".join(mood.value for mood in Mood)
        await db.drop_schema(Animal, Visit, Everything)
        assert witness.value(TABLES) == ""
        assert witness.value(ENUMS) == ""
        await db.drop_schema(Animal, Visit, Everything)  # where they exist


async def test_creates_all_or_nothing(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE visits (mine int)")
    async with open_database(dsn) as db:
        with pytest.raises(DatabaseError, match="already exists"):
            await db.create_schema(Animal, Visit)
        assert witness.value(TABLES) == "visits"
        assert witness.value(ENUMS) == ""


async def test_drops_all_or_nothing(dsn: str, witness: Witness) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal, Visit)
        witness.run("CREATE VIEW mine AS SELECT * FROM animals")
        with pytest.raises(DatabaseError, match="depend"):
            await db.drop_schema(Animal, Visit)
        assert witness.value(TABLES) == "animals visits"


async def test_a_schema_rolls_back_with_its_transaction(dsn: str, witness: Witness) -> None:
    async with open_database(dsn) as db:
        with pytest.raises(LookupError):
            async with db.transaction() as tx:
                await tx.create_schema(Animal, Visit)
                await tx.insert(Animal(name="Ada"))
                raise LookupError
        assert witness.value(TABLES) == ""


async def test_constraints_have_the_names_that_are_promised(dsn: str, witness: Witness) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal, Visit)
    names = witness.value(
        "SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint WHERE contype <> 'n' AND connamespace = 'public'::regnamespace"
    )
    assert names == "animals_age_check animals_name_key animals_pkey visits_animal_id_fkey visits_pkey"


async def test_no_models_are_no_work(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema()
        await db.drop_schema()
