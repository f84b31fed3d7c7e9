"""Generated programs of begin, write, savepoint, child, stream, cancel, fail, swallow and commit do what a model says they must."""

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.generated import examples
from tests.transaction.ledger import keys_in
from tests.transaction.programs import (
    CancelAll,
    CancelBlock,
    Divide,
    Fail,
    InChild,
    InSavepoint,
    InSiblings,
    Interrupted,
    Kill,
    Pause,
    Read,
    Shape,
    Step,
    Stream,
    Swallow,
    Write,
    agrees,
    execute,
    expected,
)
from tests.wire.witness import Witness
from trioorm import open_database
from trioorm.testing import pool_is_whole, server_is_quiet

_keys = st.integers(1, 6)
_writes = _keys.map(Write)
_leaves: st.SearchStrategy[Step] = st.one_of(
    _writes,
    _writes,
    _writes,
    st.builds(Read),
    st.builds(Stream, st.booleans()),
    st.builds(InSiblings, st.lists(_keys, min_size=1, max_size=4, unique=True).map(tuple), st.sampled_from([False, False, True])),
    st.builds(Fail),
    st.builds(Interrupted),
    st.builds(Divide),
    st.builds(Pause, st.integers(1, 3)),
    st.builds(CancelBlock),
    st.builds(CancelAll),
    st.builds(Kill),
)


def _nested(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    several = st.lists(steps, max_size=4).map(tuple)
    savepoints = st.builds(InSavepoint, several)
    return st.one_of(savepoints, st.builds(Swallow, savepoints), st.builds(Swallow, steps), st.builds(InChild, several))


_programs = st.lists(st.recursive(_leaves, _nested, max_leaves=10), max_size=6)


@hypothesis.settings(max_examples=examples(200))
@hypothesis.given(program=_programs)
@hypothesis.example(program=[Write(1), Swallow(Write(1))])
@hypothesis.example(program=[InChild((InSavepoint((Write(1), InSiblings((1,), False))),))])
@hypothesis.example(program=[Write(1), Swallow(InSavepoint((Write(2), Write(1)))), Write(3)])
@hypothesis.example(program=[InSavepoint((Swallow(Write(1)), Swallow(Write(1)))), Write(2)])
@hypothesis.example(program=[InSavepoint((InChild((InSavepoint((Interrupted(),)),)),)), Write(2)])
@hypothesis.example(program=[Write(1), Swallow(InSavepoint((InSavepoint((Kill(),)),))), CancelBlock()])
@hypothesis.example(program=[InChild((Swallow(InSavepoint((Swallow(Kill()),))), Write(1)))])
async def test_a_program_does_what_the_model_says(dsn: str, witness: Witness, program: list[Step]) -> None:
    witness.run("CREATE TABLE IF NOT EXISTS entries (key bigint PRIMARY KEY, note text NOT NULL)")
    witness.run("DELETE FROM entries")
    wanted = expected(program)
    async with open_database(dsn, max_size=2) as db:
        seen, shape = await execute(db, program, witness.terminate)
        await pool_is_whole(db.statistics)
        await server_is_quiet(witness.connection)
    assert keys_in(dsn) == wanted.keys
    assert seen == wanted.seen
    assert agrees(shape, wanted.shape), f"came out: {shape}, wanted: {wanted.shape}"


@pytest.mark.parametrize(
    ("program", "keys", "shape"),
    [
        ([Write(1), Write(2)], [1, 2], None),
        ([Write(1), Write(1)], [], "UniqueViolation"),
        ([Write(1), Swallow(Write(1))], [], "TransactionRolledBack"),
        ([Write(1), Swallow(Write(1)), Read()], [], "TransactionAborted"),
        ([Write(1), Swallow(InSavepoint((Write(2), Fail()))), Write(3)], [1, 3], None),
        ([InChild((Fail(),))], [], ["Oops"]),
        ([InSavepoint((InChild((Fail(),)),))], [], ["Oops"]),
        ([InChild((InSavepoint((InChild((Fail(),)),)),))], [], [["Oops"]]),
        ([InChild((InSavepoint((InSiblings((1,), True),)),))], [], [frozenset({"Oops"})]),
        ([Write(1), InSiblings((1, 2), True)], [], frozenset({"UniqueViolation", "Oops"})),
        ([Write(1), Swallow(InSavepoint((Write(2), CancelBlock())))], [1], None),
        ([Write(1), Swallow(InSavepoint((Write(2), CancelAll())))], [], "Cancelled"),
        ([Swallow(InSavepoint((Interrupted(),))), Write(1)], [1], None),
        ([Interrupted(), Write(1)], [], "TransactionAborted"),
        ([Write(1), Swallow(InSavepoint((Write(2), Divide()))), Pause(1), Write(3)], [1, 3], None),
        ([Write(1), Swallow(Divide())], [], "TransactionRolledBack"),
        ([Write(1), Swallow(Kill())], [], "ConnectionLost"),
        ([Write(1), Swallow(InSavepoint((Kill(),))), Fail()], [], "Oops"),
        ([Swallow(Kill()), InSiblings((1, 2), False)], [], frozenset({"ConnectionLost"})),
    ],
)
def test_the_model_itself(program: list[Step], keys: list[int], shape: Shape) -> None:
    """Worked out by hand from PostgreSQL's manual and the promises, so that the model cannot drift to whatever the library does."""
    outcome = expected(program)
    assert (outcome.keys, outcome.shape) == (keys, shape)
