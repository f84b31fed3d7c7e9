"""When a transaction commits, when it rolls back, and in which shape its error leaves the block."""

import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from tests.transaction.ledger import FAILS, Entry, fail_with, keys_in, open_ledger, write
from trioorm import (
    Database,
    DatabaseError,
    DeadlockDetected,
    SerializationFailure,
    Transaction,
    TransactionAborted,
    TransactionRolledBack,
    UniqueViolation,
    select,
    sql,
)
from trioorm.errors import DataError, leaves_of
from trioorm.pool import PoolDeadlock


class Stop(BaseException):
    """Not an Exception, as KeyboardInterrupt is not, but no event loop treats it specially."""


async def test_commits_when_the_body_has_ended(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            await write(tx, 1)
            assert keys_in(dsn) == [], "nobody else sees it before the end"
        assert keys_in(dsn) == [1]


async def test_commits_only_when_every_child_has_ended(dsn: str) -> None:
    go_on = anyio.Event()
    body_ended = anyio.Event()

    async def child(tx: Transaction) -> None:
        body_ended.set()
        await go_on.wait()
        await write(tx, 2)

    async def other_task() -> None:
        await body_ended.wait()
        assert keys_in(dsn) == []
        go_on.set()

    async with open_ledger(dsn) as db:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(other_task)
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.start_soon(child, tx)
        assert keys_in(dsn) == [1, 2]


async def test_children_of_children_belong_to_the_transaction(dsn: str) -> None:
    async def child(tx: Transaction, depth: int) -> None:
        await write(tx, depth)
        if depth < 4:
            tx.start_soon(child, tx, depth + 1)

    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            tx.start_soon(child, tx, 1)
        assert keys_in(dsn) == [1, 2, 3, 4]


async def test_start_gives_back_what_the_child_reports(dsn: str) -> None:
    async def child(*, task_status: anyio.abc.TaskStatus[str]) -> None:
        task_status.started("ready")

    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            assert await tx.start(child) == "ready"


async def test_siblings_share_the_connection_in_turns(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        async with db.transaction() as tx:
            for key in range(40):
                tx.start_soon(write, tx, key)
        assert keys_in(dsn) == list(range(40))


# Errors of the body.


@pytest.mark.parametrize("error", [ValueError("mine"), Stop("mine"), KeyboardInterrupt("mine")], ids=repr)
async def test_an_error_of_the_body_leaves_bare_as_it_was_raised(dsn: str, error: BaseException) -> None:
    def raise_it() -> None:
        raise error

    async with open_ledger(dsn) as db:
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - the identity is asserted below
            async with db.transaction() as tx:
                await write(tx, 1)
                raise_it()
        assert caught.value is error
        assert error.__cause__ is None
        assert error.__context__ is None
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert frames == ["test_an_error_of_the_body_leaves_bare_as_it_was_raised", "raise_it"], "no frames of the library's are added"
        assert keys_in(dsn) == []
        error.__traceback__ = None


async def test_a_statement_that_fails_leaves_bare(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(DataError, match="division by zero") as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                await tx.execute(FAILS)
        assert type(caught.value) is DataError
        assert caught.value.sqlstate == "22012"
        assert keys_in(dsn) == []


async def test_a_group_raised_by_the_body_itself_stays_as_it_is(dsn: str) -> None:
    mine = ExceptionGroup("mine", [ValueError("1"), ValueError("2")])
    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                raise mine
        assert caught.value is mine
        assert keys_in(dsn) == []


# Errors of children.


async def test_an_error_of_a_child_leaves_in_one_group(dsn: str) -> None:
    mine = ValueError("mine")
    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.start_soon(fail_with, mine)
        assert caught.value.exceptions == (mine,)
        assert keys_in(dsn) == []


async def test_a_failing_child_cancels_the_body_and_its_siblings(dsn: str) -> None:
    cancelled: list[str] = []

    async def sleep_as(name: str) -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cancelled.append(name)
            raise

    mine = ValueError("mine")
    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.start_soon(sleep_as, "sibling")
                await anyio.lowlevel.checkpoint()
                tx.start_soon(fail_with, mine)
                await sleep_as("body")
        assert caught.value.exceptions == (mine,), "the cancellations are echoes"
        assert sorted(cancelled) == ["body", "sibling"]
        assert keys_in(dsn) == []


async def test_the_bodys_own_error_is_added_to_the_childrens(dsn: str) -> None:
    childs, bodys = ValueError("child's"), KeyError("body's")
    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.start_soon(fail_with, childs)
                try:
                    await anyio.sleep_forever()
                finally:
                    raise bodys
        assert set(caught.value.exceptions) == {childs, bodys}
        assert keys_in(dsn) == []


async def test_the_error_that_aborted_the_transaction_comes_first(dsn: str) -> None:
    """Whatever order the nursery has them in: the body's own error is raised first here."""
    began = anyio.Event()

    async def fail_on_the_server(tx: Transaction) -> None:
        try:
            await tx.execute(FAILS)
        except DatabaseError:
            began.set()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02)
            raise

    async def fail_in_the_wake() -> None:
        await began.wait()
        raise ValueError("a consequence")

    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction() as tx:
                tx.start_soon(fail_on_the_server, tx)
                tx.start_soon(fail_in_the_wake)
        assert [type(error) for error in caught.value.exceptions] == [DataError, ValueError]


async def test_transaction_aborted_beside_its_cause_is_an_echo(dsn: str) -> None:
    async def swallow_nothing(tx: Transaction, failed: anyio.Event) -> None:
        await failed.wait()
        with anyio.CancelScope(shield=True):
            await write(tx, 1)

    async def fail(tx: Transaction, failed: anyio.Event) -> None:
        try:
            await tx.execute(FAILS)
        finally:
            failed.set()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02)

    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction() as tx:
                failed = anyio.Event()
                tx.start_soon(swallow_nothing, tx, failed)
                tx.start_soon(fail, tx, failed)
        assert [type(error) for error in caught.value.exceptions] == [DataError]


async def test_nested_groups_of_children_keep_their_tree(dsn: str) -> None:
    first, second = ValueError("first"), ValueError("second")

    async def child() -> None:
        raise ExceptionGroup("the child's own nursery", [first, ExceptionGroup("deeper", [second])])

    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.start_soon(child)
        (inner,) = caught.value.exceptions
        assert (
            repr(inner)
            == """ExceptionGroup("the child's own nursery", [ValueError('first'), ExceptionGroup('deeper', [ValueError('second')])])"""
        )
        assert list(leaves_of(inner)) == [first, second]
        assert keys_in(dsn) == []


async def test_a_base_exception_of_a_child_rolls_back(dsn: str) -> None:
    mine = Stop("mine")
    async with open_ledger(dsn) as db:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.start_soon(fail_with, mine)
                await anyio.sleep_forever()
        assert caught.value.exceptions == (mine,)
        assert keys_in(dsn) == []


async def test_the_traceback_of_a_childs_error_leads_to_its_line(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction() as tx:
                tx.start_soon(fail_with, ValueError("mine"))
        assert traceback.extract_tb(caught.value.exceptions[0].__traceback__)[-1].name == "fail_with"


# Errors that were swallowed.


async def _swallow_a_failed_statement(tx: Transaction) -> None:
    try:
        await tx.execute(FAILS)
    except DataError:
        pass


async def _swallow_a_broken_constraint(tx: Transaction) -> None:
    try:
        await write(tx, 1)
    except UniqueViolation:
        pass


async def _swallow_and_go_on(tx: Transaction) -> None:
    await _swallow_a_failed_statement(tx)
    try:
        await write(tx, 2)
    except TransactionAborted:
        pass


@pytest.mark.parametrize("swallow", [_swallow_a_failed_statement, _swallow_a_broken_constraint, _swallow_and_go_on])
async def test_a_swallowed_error_is_not_acknowledged_as_a_commit(dsn: str, swallow: Callable[[Transaction], Awaitable[None]]) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack, match="rolled back instead of committed") as caught:
            async with db.transaction(name="pay") as tx:
                await write(tx, 1)
                await swallow(tx)
        assert "the transaction 'pay'" in str(caught.value)
        assert "To fix it:" in str(caught.value)
        assert isinstance(caught.value.first_error, DatabaseError)
        assert caught.value.__cause__ is caught.value.first_error
        assert keys_in(dsn) == []


async def test_an_error_swallowed_by_a_child_is_not_acknowledged_either(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionRolledBack):
            async with db.transaction() as tx:
                await write(tx, 1)
                tx.start_soon(_swallow_a_failed_statement, tx)
        assert keys_in(dsn) == []


async def test_a_statement_after_a_failed_one_names_the_first_error(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(TransactionAborted, match="was aborted because of DataError: division by zero") as caught:
            async with db.transaction() as tx:
                with pytest.raises(DataError):
                    await tx.execute(FAILS)
                await tx.fetch_all(select(Entry))
        assert isinstance(caught.value.__cause__, DataError)
        assert caught.value.sqlstate == "25P02"
        assert "async with tx.savepoint() as sp" in str(caught.value)


async def test_a_later_error_that_is_no_echo_is_raised_as_it_is(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        with pytest.raises(LookupError):
            async with db.transaction() as tx:
                await _swallow_a_failed_statement(tx)
                raise LookupError
        assert keys_in(dsn) == []


# Errors of the COMMIT itself.


async def test_a_scope_that_the_body_has_not_left_is_found_before_the_commit(dsn: str, backend: str) -> None:
    """Trio raises where the nursery ends, and a block that raises is not committed. What was leaked is what an unclosed generator leaks."""

    async def keys() -> AsyncGenerator[int]:
        with anyio.move_on_after(60):
            for key in range(2):
                yield key

    if backend == "asyncio":
        return  # there, such a scope breaks all that is around it, the test's own too
    generator = keys()
    async with open_ledger(dsn) as db:
        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction() as tx:
                async for key in generator:
                    await write(tx, key)
                    break
        assert caught.group_contains(RuntimeError, match="corrupted")
        assert keys_in(dsn) == []
    await generator.aclose()


async def test_a_deferred_constraint_refuses_the_commit(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        await db.execute(sql("ALTER TABLE entries ADD COLUMN twin int UNIQUE DEFERRABLE INITIALLY DEFERRED"))
        with pytest.raises(UniqueViolation) as caught:
            async with db.transaction() as tx:
                await tx.execute(sql("INSERT INTO entries (key, note, twin) VALUES (1, '', 5), (2, '', 5)"))
        assert caught.value.constraint == "entries_twin_key"
        assert keys_in(dsn) == []


async def test_a_transaction_that_cannot_be_put_in_order_is_refused_at_its_commit(dsn: str) -> None:
    """Write skew: each has read the table without the row that the other writes."""
    async with open_ledger(dsn) as db:
        with pytest.raises(SerializationFailure, match="Run the whole transaction again") as caught:
            async with db.transaction(isolation="serializable") as slower:
                await slower.fetch_all(select(Entry))
                async with db.transaction(isolation="serializable") as quicker:
                    await quicker.fetch_all(select(Entry))
                    await write(slower, 1)
                    await write(quicker, 2)
        assert caught.value.safe_to_retry
        assert keys_in(dsn) == [2]


async def test_a_snapshot_that_was_overtaken_is_refused_at_its_statement(dsn: str) -> None:
    async with open_ledger(dsn) as db:
        await write(db, 1)
        with pytest.raises(SerializationFailure):
            async with db.transaction(isolation="repeatable read") as slower:
                await slower.fetch_all(select(Entry))
                await db.update(Entry(key=1, note="quicker"))
                await slower.update(Entry(key=1, note="slower"))
        assert (await db.get(Entry, 1)).note == "quicker"


async def test_of_two_transactions_that_wait_for_each_other_one_is_refused(dsn: str) -> None:
    both_hold_one = [anyio.Event(), anyio.Event()]
    ended: list[str] = []

    async def run(db: Database, me: int) -> None:
        other = 1 - me
        try:
            async with db.transaction() as tx:
                await tx.update(Entry(key=me, note="first"))
                both_hold_one[me].set()
                await both_hold_one[other].wait()
                await tx.update(Entry(key=other, note="second"))
        except DeadlockDetected:
            ended.append("refused")
        else:
            ended.append("committed")

    async with open_ledger(dsn) as db:
        await db.execute(sql("SELECT set_config('deadlock_timeout', '10ms', false)"))
        await db.insert_many([Entry(key=0), Entry(key=1)])
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(run, db, 0)
            nursery.start_soon(run, db, 1)
        assert sorted(ended) == ["committed", "refused"]


# Two transactions on one task.


async def test_a_transaction_inside_another_is_one_of_its_own(dsn: str) -> None:
    """Not a savepoint: it has a connection of its own, and its fate does not depend on the outer one's."""
    async with open_ledger(dsn) as db:
        with pytest.raises(ValueError, match="undo"):
            async with db.transaction() as outer:
                await write(outer, 1)
                async with db.transaction() as inner:
                    await write(inner, 2)
                    await write(outer, 3)
                assert keys_in(dsn) == [2]
                raise ValueError("undo")
        assert keys_in(dsn) == [2]


async def test_a_transaction_inside_another_with_no_connection_left_is_refused_at_once(dsn: str) -> None:
    async with open_ledger(dsn, max_size=1) as db:
        with anyio.fail_after(5), pytest.raises(PoolDeadlock):
            async with db.transaction() as outer:
                await write(outer, 1)
                async with db.transaction() as inner:
                    await write(inner, 2)
        assert keys_in(dsn) == []
