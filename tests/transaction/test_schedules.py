"""Generated programs of several tasks, under generated schedules, do one of the things that a model says they may."""

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.generated import examples
from tests.transaction.ledger import keys_in, open_ledger
from tests.transaction.programs import (
    CancelAll,
    CancelBlock,
    Divide,
    Fail,
    InSavepoint,
    Interrupted,
    Kill,
    Pause,
    Read,
    Spawn,
    Step,
    Swallow,
    Write,
)
from tests.transaction.schedules import End, TooManyOrders, execute, explains, outcomes
from tests.wire.witness import Witness
from trioorm import open_database
from trioorm.testing import pool_is_whole, server_is_quiet

_writes = st.integers(1, 4).map(Write)
_leaves: st.SearchStrategy[Step] = st.one_of(
    _writes,
    _writes,
    _writes,
    st.builds(Read),
    st.builds(Read),
    st.builds(Pause, st.integers(1, 8)),
    st.builds(Swallow, _writes),
    st.builds(Divide),
    st.builds(Fail),
    st.builds(Interrupted),
    st.builds(CancelBlock),
    st.builds(CancelAll),
    st.builds(Kill),
)


def _nested(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    several = st.lists(steps, min_size=1, max_size=3).map(tuple)
    savepoints = st.builds(InSavepoint, several)
    spawns = st.builds(Spawn, several)
    return st.one_of(savepoints, st.builds(Swallow, savepoints), spawns, spawns, spawns)


_programs = st.lists(st.recursive(_leaves, _nested, max_leaves=8), min_size=1, max_size=4)

# A sibling may have ended the session meanwhile, of which the server only warns.
_TERMINATE = "SELECT pg_terminate_backend(%s, 5000)"

_TWO_SAVEPOINTS: list[Step] = [
    Spawn((Swallow(InSavepoint((Write(1), Write(2)))),)),
    Spawn((Swallow(InSavepoint((Write(3), Write(2)))),)),
    Read(),
]


@hypothesis.settings(max_examples=examples(80))
@hypothesis.given(program=_programs, schedule=st.integers(0, 2**32 - 1))
@hypothesis.example(program=_TWO_SAVEPOINTS, schedule=1)
@hypothesis.example(program=_TWO_SAVEPOINTS, schedule=2)
@hypothesis.example(program=[Spawn((Write(1),)), Spawn((Write(2),)), Spawn((Read(), Write(3))), Read()], schedule=3)
async def test_tasks_do_one_of_the_things_that_the_model_allows(dsn: str, witness: Witness, program: list[Step], schedule: int) -> None:
    try:
        allowed = outcomes(program)
    except TooManyOrders:
        hypothesis.reject()
    witness.run("CREATE TABLE IF NOT EXISTS entries (key bigint PRIMARY KEY, note text NOT NULL)")
    witness.run("DELETE FROM entries")
    async with open_database(dsn, max_size=2) as db:
        seen, errors = await execute(db, program, lambda pid: witness.run(_TERMINATE, pid), schedule)
        await pool_is_whole(db.statistics)
        await server_is_quiet(witness.connection)
    end = End(tuple(keys_in(dsn)), () if errors else tuple(sorted(seen.items())), errors)
    assert explains(allowed, end), "\n".join(map(str, ("came:", end, "allowed:", *allowed)))


async def test_different_schedules_bring_forth_every_outcome(dsn: str, witness: Witness) -> None:
    """The number of a schedule is not for nothing: one program comes to all the ends that it can have."""
    found: set[tuple[int, ...]] = set()
    async with open_ledger(dsn) as db:
        for schedule in range(200):
            await execute(db, _TWO_SAVEPOINTS, witness.terminate, schedule)
            found.add(tuple(keys_in(dsn)))
            witness.run("DELETE FROM entries")
            if found == {end.keys for end in outcomes(_TWO_SAVEPOINTS)}:
                return
    pytest.fail(f"only {found} of {outcomes(_TWO_SAVEPOINTS)}")


@pytest.mark.parametrize(
    ("program", "ends"),
    [
        ([Spawn((Write(1),)), Read()], {((1,), ((1,), ()), ""), ((1,), ((1,), (1,)), "")}),
        ([Spawn((Write(1),)), Write(1)], {((), None, "UniqueViolation")}),
        (
            [Spawn((Swallow(InSavepoint((Write(1), Write(2)))),)), Swallow(InSavepoint((Write(3), Write(2))))],
            {((1, 2), None, ""), ((2, 3), None, "")},
        ),
        ([Spawn((InSavepoint((Write(1), Write(2))),)), Read()], {((1, 2), ((1,), ()), ""), ((1, 2), ((1,), (1, 2)), "")}),
        ([Spawn((CancelBlock(),)), Write(1)], {((), None, "TransactionRolledBack")}),
        ([Spawn((CancelAll(),)), Write(1)], {((), None, "Cancelled")}),
        ([Spawn((Fail(),)), Swallow(Divide())], {((), None, "Oops")}),
        ([Write(1), Swallow(InSavepoint((Spawn((Divide(),)), Write(2)))), Write(3)], {((1, 3), None, "")}),
        ([Spawn((Interrupted(),)), Write(1)], {((1,), None, ""), ((), None, "TransactionRolledBack"), ((), None, "TransactionAborted")}),
        ([Write(1), Spawn((Swallow(Kill()),))], {((), None, "ConnectionLost")}),
    ],
)
def test_the_model_itself(program: list[Step], ends: set[tuple[tuple[int, ...], tuple[tuple[int, ...], ...] | None, str]]) -> None:
    """Worked out by hand: the keys, what the read at place 1 saw, and the error."""
    found = outcomes(program)
    assert {(end.keys, end.seen[0] if end.seen else None, "".join(end.errors)) for end in found} == ends
