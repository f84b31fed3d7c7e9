"""`explain`: typed plans, drawn as trees; measuring leaves nothing behind."""

import json
import sys

import pytest

from tests.database.cinema import MODELS, Credit, Film, fill
from tests.database.zoo import Animal, Visit
from tests.wire.witness import Witness
from trioorm import DatabaseError, PlanNode, QueryPlan, count, delete, open_database, select, sql, update
from trioorm.database.explaining import read_plan

ROWS = "SELECT count(*) FROM animals"


def animals(number: int) -> list[Animal]:
    return [Animal(name=f"animal {place}", age=place % 90) for place in range(number)]


def step(kind: str, milliseconds: float, *children: dict[str, object], loops: int = 1, **said: object) -> dict[str, object]:
    measured = {"Actual Total Time": milliseconds, "Actual Rows": 10, "Actual Loops": loops}
    fields: dict[str, object] = {"Node Type": kind, "Plan Rows": 10, "Startup Cost": 0.5, "Total Cost": 2.0, **measured}
    return fields | {name.replace("_", " "): value for name, value in said.items()} | ({"Plans": list(children)} if children else {})


def plan_of(root: dict[str, object], **whole: object) -> QueryPlan:
    said = {"Plan": root, "Planning Time": 1.0, "Execution Time": 10.0, **{key.replace("_", " "): value for key, value in whole.items()}}
    return read_plan(json.dumps([said]).encode(), "SELECT 1")


def named(plan: QueryPlan, kind: str) -> PlanNode:
    return next(node for node in plan.nodes() if node.kind == kind)


async def test_a_plan_is_a_tree_of_steps_without_running(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal, Visit)
        plan = await db.explain(select(Animal).where(Animal.age > 3).order_by(Animal.name.desc()))
        assert plan.execution_seconds is plan.planning_seconds is plan.root.seconds is plan.root.misestimate is None
        assert plan.root.kind == "Sort"
        assert plan.root.sort_key == ("name DESC",)
        (scan,) = plan.root.children
        assert (scan.relation, scan.conditions, scan.rows, scan.buffers) == ("animals", (("Filter", "(age > '3'::smallint)"),), None, None)
        assert scan.total_cost < plan.root.total_cost
        assert plan.sql.startswith("SELECT")
        verbose = await db.explain(select(Animal.name), verbose=True)
        assert verbose.root.details["Output"] == ["name"]


async def test_measuring_tells_rows_times_and_blocks(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal, Visit)
        await db.insert_many(animals(300))
        plan = await db.explain(select(count()).from_(Animal).where(Animal.age < 9), analyze=True)
        assert plan.execution_seconds
        assert plan.planning_seconds
        (scan,) = (node for node in plan.nodes() if node.relation == "animals")
        assert (scan.rows, scan.loops) == (sum(animal.age < 9 for animal in animals(300)), 1)
        assert scan.rows_removed == 300 - (scan.rows or 0)
        assert scan.buffers is not None
        assert scan.buffers.hit + scan.buffers.read > 0
        shares = [node.share for node in plan.nodes()]
        assert all(share is not None and 0 <= share <= 1 for share in shares)
        assert sum(share or 0 for share in shares) <= 1.000001


async def test_measuring_a_write_changes_nothing(dsn: str, witness: Witness) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(Animal, Visit)
        await db.insert_many(animals(5))
        plan = await db.explain(delete(Animal).everywhere(), analyze=True)
        assert (plan.root.kind, plan.root.relation) == ("Delete", "animals")
        assert named(plan, "Seq Scan").rows == 5
        assert "visits_animal_id_fkey" in plan.triggers
        assert witness.value(ROWS) == 5
        async with db.transaction() as tx:
            await tx.execute(update(Animal).set(Animal.age, 77).where(Animal.age == 0))
            await tx.explain(delete(Animal).everywhere(), analyze=True)
            async with tx.savepoint() as sp:
                await sp.explain(delete(Animal).everywhere(), analyze=True)
            assert await tx.fetch_value(select(count()).from_(Animal).where(Animal.age == 77)) == 1
        assert witness.value(ROWS + " WHERE age = 77") == 1
        assert witness.value(ROWS) == 5


async def test_what_cannot_be_explained_fails_and_leaves_the_pool_whole(dsn: str, witness: Witness) -> None:
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(Animal, Visit)
        await db.insert_many(animals(2))
        for statement in (sql("DELETE FROM nowhere"), sql("VACUUM"), sql("WITH gone AS (DELETE FROM animals) SELECT 1 / 0")):
            with pytest.raises(DatabaseError):
                await db.explain(statement, analyze=True)
        assert await db.fetch_value(select(count()).from_(Animal)) == 2
        async with db.transaction() as tx:
            with pytest.raises(DatabaseError, match="by zero"):
                async with tx.savepoint() as sp:
                    await sp.explain(sql("SELECT 1 / 0"), analyze=True)
            assert await tx.fetch_value(select(count()).from_(Animal)) == 2


def test_a_step_takes_the_time_of_its_children_off_its_own() -> None:
    plan = plan_of(step("Nested Loop", 8.0, step("Seq Scan", 2.0), step("Index Scan", 0.5, loops=10)))
    root = plan.root
    assert [node.own_seconds for node in plan.nodes()] == pytest.approx([0.001, 0.002, 0.005])
    assert [node.share for node in plan.nodes()] == pytest.approx([0.1, 0.2, 0.5])
    assert root.seconds == pytest.approx(0.008)


def test_workers_run_at_the_same_time() -> None:
    scan = step("Seq Scan", 3.0, loops=3, Parallel_Aware=True)
    plan = plan_of(step("Gather", 4.0, scan, Workers_Launched=2))
    assert plan.root.workers == 2
    assert named(plan, "Parallel Seq Scan").seconds == pytest.approx(0.003)
    assert plan.root.own_seconds == pytest.approx(0.001)


def test_a_cte_counts_where_it_is_read() -> None:
    cte = step("Seq Scan", 5.0, Subplan_Name="CTE old", Parent_Relationship="InitPlan")
    plan = plan_of(step("Sort", 8.0, cte, step("CTE Scan", 6.0, CTE_Name="old", Alias="o")))
    assert [node.own_seconds for node in plan.nodes()] == pytest.approx([0.002, 0.005, 0.001])


def test_guesses_that_were_far_off_are_told() -> None:
    missed = step("Seq Scan", 1.0) | {"Actual Rows": 5000, "Plan Rows": 7}
    assert plan_of(missed).root.misestimate == pytest.approx(5000 / 7)
    assert "the planner expected 7 rows: 714 times too few" in str(plan_of(missed))
    excess = step("Seq Scan", 1.0) | {"Actual Rows": 0, "Plan Rows": 70}
    assert "expected 70 rows: 70 times too many" in str(plan_of(excess))
    assert "too many" not in str(plan_of(step("Limit", 1.0, excess)))  # it was stopped before it could give them
    never = step("Seq Scan", 0.0, loops=0) | {"Actual Rows": 0, "Plan Rows": 70}
    assert plan_of(never).root.misestimate is None
    assert "never ran" in str(plan_of(never))


DRAWN = """\
10 %  Nested Loop  10 rows, 8.00 ms
20 %  ├─ Seq Scan on films f  10 rows, 2.00 ms
      │     filter: (year > 1990)
      │     threw away 3 rows
50 %  └─ Index Scan using films_pkey on films  100 rows in 10 loops, 5.00 ms
            blocks: 1,234 in memory, 5 written to temporary files
20 %  trigger films_fkey: 2.00 ms
planned in 1.00 ms, ran for 10.00 ms"""


def test_the_tree_is_drawn_for_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = step("Seq Scan", 2.0, Relation_Name="films", Alias="f", Filter="(year > 1990)", Rows_Removed_by_Filter=3)
    look = step("Index Scan", 0.5, loops=10, Relation_Name="films", Alias="films", Index_Name="films_pkey")
    look |= {"Shared Hit Blocks": 1234, "Temp Written Blocks": 5}
    plan = plan_of(step("Nested Loop", 8.0, scan, look), Triggers=[{"Trigger Name": "films_fkey", "Time": 2.0}])
    assert plan.drawn() == DRAWN
    plain = DRAWN.replace("├─", "+-").replace("└─", "`-").replace("│", "|")
    assert plan.drawn(ascii_only=True) == plain

    class Terminal:
        def __init__(self, encoding: str | None) -> None:
            self.encoding = encoding

    for encoding, expected in (("utf-8", DRAWN), ("ascii", plain), ("latin-1", plain), (None, plain)):
        monkeypatch.setattr(sys, "stdout", Terminal(encoding))
        shown = str(plan)
        monkeypatch.undo()
        assert shown == expected


@pytest.mark.parametrize("inside", [False, True])
async def test_a_load_is_explained_with_all_its_statements(dsn: str, inside: bool) -> None:
    statement = select(Film).where(Film.id < 3).load(Film.credits.limit(2).load(Credit.person), Film.genres)
    async with open_database(dsn) as db:
        await db.create_schema(*MODELS)
        await fill(db)
        plan = await db.explain(statement)
        assert plan.execution_seconds is None
        if inside:
            async with db.transaction() as tx:
                plan = await tx.explain(statement, analyze=True)
                await tx.fetch_all(statement)
        else:
            plan = await db.explain(statement, analyze=True)
    credits, genres = plan.loads
    (people,) = credits.plan.loads
    assert [load.relation for load in (credits, people, genres)] == ["Film.credits", "Credit.person", "Film.genres"]
    assert [found.root.rows for found in (plan, credits.plan, people.plan, genres.plan)] == [2, 3, 3 - 1, 3], "they hand their keys on"
    assert {load.plan.flight for load in (credits, people, genres)} == {1}
    assert all(load.plan.execution_seconds for load in (credits, people, genres))
    drawn = plan.drawn(ascii_only=True).splitlines()
    assert "Film.credits: flight 1, finds by the keys that the statement above hands on" in drawn
    assert "  Credit.person: flight 1, finds by the keys that the statement above hands on" in drawn
    assert "LATERAL" in credits.plan.sql
