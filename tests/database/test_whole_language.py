"""What the query language says arrives: values that are sent once, rows of combined queries, objects of one's own class, merges."""

from typing import NamedTuple

from tests.database.zoo import Animal
from trioorm import count, func, merge, merge_action, open_database, optional, select, update, values_table


class Aged(NamedTuple):
    decade: int
    animals: int


async def test_statements_of_every_kind_give_what_their_types_say(dsn: str) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal)
        await db.insert_many([Animal(name=name, age=age) for name, age in (("ant", 1), ("bat", 12), ("cat", 15))])

        old = select(Animal.id, Animal.age).where(Animal.age > 10).cte("old")
        twice = select(old[Animal.id]).where(old[Animal.id].in_(select(old[Animal.id]).where(old[Animal.age] < 14)))
        assert await db.fetch_all(twice) == [2]  # the CTE's value is sent once, though it is read from twice

        decade = func.div(Animal.age, 10, returns=int).as_("decade")
        grouped = select(decade, count().as_("animals")).group_by(decade).order_by(decade)
        assert await db.fetch_all(grouped.into(Aged)) == [Aged(0, 1), Aged(1, 2)]

        young = select(Animal).where(Animal.age < 2)
        both = await db.fetch_all(young.union(select(Animal).where(Animal.name == "cat")).order_by(Animal.name.desc()))
        assert [animal.name for animal in both] == ["cat", "ant"]

        table = young.subquery("young")
        pairs = await db.fetch_all(select(Animal.name, optional(table[Animal])).left_join(table, table[Animal].id == Animal.id))
        assert sorted((name, None if found is None else found.age) for name, found in pairs) == [("ant", 1), ("bat", None), ("cat", None)]

        assert await db.execute(update(Animal).set_each([{"id": 1, "age": 2}, {"id": 3, "age": 16}, {"id": 9, "age": 1}])) == 2
        rows: list[tuple[int, int]] = [(1, 3), (3, 99)]
        given = values_table("given", rows)
        number, age = given.columns
        merged = merge(Animal).using(given, on=Animal.id == number)
        done = merged.when_matched(age > 50).delete().when_matched().update({Animal.age: age}).returning(merge_action(), Animal.age)
        assert sorted(await db.fetch_all(done)) == [("DELETE", 16), ("UPDATE", 3)]
        assert await db.fetch_all(select(Animal.name).order_by(Animal.id).with_total()) == [("ant", 2), ("bat", 2)]
