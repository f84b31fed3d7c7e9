"""Who gets which connection, and when: the last one given back goes first, and to the task that has waited longest."""

import random
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import psycopg_pool
import pytest
from anyio.abc import TaskStatus

from tests.wire.witness import works
from trioorm.errors import DatabaseUnavailable
from trioorm.pool import Connection, Pool, PoolSettings, PoolTimeout, TooManyRequests, open_pool
from trioorm.pool.line import Line, Place
from trioorm.testing import SweepRun, pool_is_whole, sweep


@asynccontextmanager
async def _full_pool(dsn: str, size: int, *, timeout_seconds: float = 30.0, max_waiting: int = 0) -> AsyncGenerator[Pool]:
    """A pool whose connections are all open and idle."""
    async with open_pool(dsn, min_size=size, max_size=size, timeout_seconds=timeout_seconds, max_waiting=max_waiting) as pool:
        await until_idle(pool, size)
        yield pool
        await pool_is_whole(pool.statistics)


async def until_idle(pool: Pool, number: int) -> None:
    """Wait until so many connections are idle; they are opened in the background."""
    with anyio.fail_after(5):
        while pool.statistics().idle != number:  # noqa: ASYNC110 - the pool tells nobody when it has opened one
            await anyio.sleep(0.002)


async def until_waiting(pool: Pool, number: int) -> None:
    """Wait until so many tasks are in line."""
    with anyio.fail_after(5):
        while pool.statistics().waiting != number:
            await anyio.lowlevel.checkpoint()


async def test_the_last_one_given_back_is_lent_first(dsn: str) -> None:
    """So that in quiet times the same few are used, and the others may be closed."""
    async with _full_pool(dsn, 3) as pool:
        leases = [await pool.acquire() for _ in range(3)]
        for lease in leases:
            lease.release()
        order = [await pool.acquire() for _ in range(3)]
        assert [lease.connection for lease in order] == [lease.connection for lease in reversed(leases)]
        for lease in order:
            lease.release()


async def test_a_lease_gives_back_at_the_end_of_its_block_and_only_once(dsn: str) -> None:
    async with _full_pool(dsn, 1) as pool:
        lease = await pool.acquire()
        with lease as connection:
            assert connection is lease.connection
            assert await works(connection)
            assert pool.statistics().on_loan == 1
        assert (pool.statistics().on_loan, pool.statistics().idle) == (0, 1)
        following = await pool.acquire()
        lease.release()
        assert pool.statistics().on_loan == 1, "a second release must not give away what another task has"
        following.release()


async def test_no_more_connections_than_needed_are_opened(dsn: str) -> None:
    async with open_pool(dsn, min_size=0, max_size=5) as pool:
        assert pool.statistics().pool_size == 0
        for _ in range(3):
            with await pool.acquire() as connection:
                assert await works(connection)
        assert pool.statistics().pool_size == 1


async def test_no_more_connections_than_max_size_are_opened(dsn: str) -> None:
    greatest = 0
    async with open_pool(dsn, min_size=0, max_size=3) as pool:

        async def work() -> None:
            nonlocal greatest
            with await pool.acquire() as connection:
                assert await works(connection)
                greatest = max(greatest, pool.statistics().pool_size)

        async with anyio.create_task_group() as nursery:
            for _ in range(30):
                nursery.start_soon(work)
        assert greatest == 3
        assert pool.statistics().connections_num == 3
        await pool_is_whole(pool.statistics)


async def test_hundreds_of_waiters_of_whom_a_third_quits(dsn: str) -> None:
    """The order is kept among those who stay, all of them are served, and nothing is lost with those who go."""
    moments = random.Random(4711)
    number_of_tasks = 300
    quitters = sorted(moments.sample(range(number_of_tasks), 90))
    early, late = quitters[::2], quitters[1::2]
    joined: list[int] = []
    served: list[int] = []
    holders = 0
    scopes = [anyio.CancelScope() for _ in range(number_of_tasks)]

    async def work(pool: Pool, number: int) -> None:
        nonlocal holders
        with scopes[number]:
            joined.append(number)
            with await pool.acquire() as connection:
                served.append(number)
                holders += 1
                try:
                    assert holders == 1, "one connection, so one holder, and the order of waking is the order of serving"
                    assert connection.is_idle
                    for _ in range(moments.randrange(3)):
                        await anyio.lowlevel.checkpoint()
                finally:
                    holders -= 1

    async with _full_pool(dsn, 1) as pool:
        lease = await pool.acquire()
        async with anyio.create_task_group() as nursery:
            for number in range(number_of_tasks):
                nursery.start_soon(work, pool, number)
            await until_waiting(pool, number_of_tasks)
            for number in early:
                scopes[number].cancel()
            await until_waiting(pool, number_of_tasks - len(early))
            lease.release()
            for number in late:
                await anyio.lowlevel.checkpoint()
                scopes[number].cancel()
        stayed = [number for number in joined if number not in quitters]
        assert [number for number in served if number not in quitters] == stayed, "first come, first served, and nobody is forgotten"
        assert served == [number for number in joined if number in set(served)], "the same for those who were served before they quit"
        assert not set(served) & set(early)
        assert len(served) < number_of_tasks - len(early), "some of the late ones quit in time"
        assert pool.statistics().pool_size == 1
        assert pool.statistics().connections_lost == pool.statistics().returns_bad == 0


async def test_hundreds_of_tasks_share_a_few_connections(dsn: str) -> None:
    """Quitting at all moments, also while they work; each connection belongs to one task at a time."""
    moments = random.Random(42)
    held: set[object] = set()
    done = 0

    async def work(pool: Pool, patience_seconds: float) -> None:
        nonlocal done
        with anyio.move_on_after(patience_seconds):
            with await pool.acquire() as connection:
                assert connection not in held
                held.add(connection)
                try:
                    assert await works(connection)
                    done += 1
                finally:
                    held.discard(connection)

    async with _full_pool(dsn, 4) as pool:
        async with anyio.create_task_group() as nursery:
            for number in range(300):
                nursery.start_soon(work, pool, 60 if number % 3 else moments.uniform(0, 0.05))
        assert done >= 200
        assert pool.statistics().returns_bad == 0, "with a server that answers, no cancellation costs a connection"


async def test_newcomers_do_not_overtake(dsn: str) -> None:
    """A connection that comes free belongs to the line, even if a task asks in the same moment."""
    order: list[str] = []
    async with _full_pool(dsn, 1) as pool:
        lease = await pool.acquire()

        async def wait_in_line() -> None:
            with await pool.acquire():
                order.append("the one in line")

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(wait_in_line)
            await until_waiting(pool, 1)
            lease.release()
            with await pool.acquire():
                order.append("the newcomer")
    assert order == ["the one in line", "the newcomer"]


async def test_who_was_lent_a_dead_connection_keeps_its_place(dsn: str) -> None:
    """A look at one that has been idle for long may take as long as a cleanup; who came meanwhile came later."""
    served: list[str] = []
    looked_at = anyio.Event()
    all_in_line = anyio.Event()

    async def check(connection: Connection) -> None:
        if not looked_at.is_set():
            looked_at.set()
            await all_in_line.wait()
            connection.close_nowait()

    async with open_pool(dsn, max_size=1, max_waiting=2, check_after_idle_seconds=0, check=check) as pool:

        async def borrow(name: str) -> None:
            with await pool.acquire():
                served.append(name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(borrow, "first")
            await looked_at.wait()
            for number, name in enumerate(("second", "third"), start=1):
                tasks.start_soon(borrow, name)
                await until_waiting(pool, number)
            all_in_line.set()
    assert served == ["first", "second", "third"]


@pytest.mark.parametrize("briefly", [False, True])
async def test_who_is_cancelled_in_the_moment_of_being_served_passes_it_on(dsn: str, briefly: bool) -> None:
    """Cancelled first and then handed the connection, both in the same turn of the loop: it goes to the next in line."""
    served: list[str] = []
    async with _full_pool(dsn, 1) as pool:
        lease = await pool.acquire()
        scopes = {name: anyio.CancelScope() for name in ("Ada", "Grace", "Hedy")}

        async def wait_in_line(name: str) -> None:
            with scopes[name]:
                with await pool.acquire(briefly=briefly):
                    await anyio.lowlevel.checkpoint()
                    served.append(name)

        async with anyio.create_task_group() as nursery:
            for number, name in enumerate(scopes):
                nursery.start_soon(wait_in_line, name)
                await until_waiting(pool, number + 1)
            scopes["Ada"].cancel()
            lease.release()
            scopes["Grace"].cancel()
        assert served == ["Hedy"]


@pytest.mark.parametrize("briefly", [False, True])
async def test_a_hand_over_raced_by_a_cancellation(dsn: str, briefly: bool) -> None:
    """In every way and at every suspension; the kinds on waking strike between the hand-over and the moment when the task knows."""
    async with _full_pool(dsn, 1) as pool:

        async def work() -> None:
            with await pool.acquire(briefly=briefly) as connection:
                await connection.fly([])

        async def operation() -> None:
            async with anyio.create_task_group() as nursery:
                for _ in range(3):
                    nursery.start_soon(work)

        async def check(run: SweepRun) -> None:
            await pool_is_whole(pool.statistics)
            assert pool.statistics().pool_size == 1
            with anyio.fail_after(2):
                with await pool.acquire() as connection:
                    assert await works(connection)

        for _ in range(3):  # the order of siblings is open
            report = await sweep(lambda _: operation(), check=check)
            assert report.suspensions >= 3, f"\n{report}"


async def test_in_a_cancelled_scope_nothing_is_lent(dsn: str) -> None:
    async with _full_pool(dsn, 1) as pool:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await pool.acquire()
        assert scope.cancelled_caught


# Refusals.


async def _hold(pool: Pool, *, task_status: TaskStatus[None]) -> None:
    with await pool.acquire():
        task_status.started()
        await anyio.sleep_forever()


async def test_a_timeout_names_the_holder_and_its_place(dsn: str) -> None:
    failures: list[PoolTimeout] = []
    async with _full_pool(dsn, 1, timeout_seconds=0.1) as pool:
        async with anyio.create_task_group() as nursery:
            await nursery.start(_hold, pool, name="the greedy one")
            with pytest.raises(PoolTimeout) as failure:
                await pool.acquire()
            failures.append(failure.value)
            nursery.cancel_scope.cancel()
        [error] = failures
        assert 0.09 < error.waited_seconds < 1
        assert (error.on_loan, error.waiting) == (1, 0)
        assert error.safe_to_retry
        assert isinstance(error, psycopg_pool.PoolTimeout)
        assert isinstance(error, DatabaseUnavailable)
        text = str(error)
        assert "no connection came free within 0.1 s" in text
        assert "the greedy one" in text
        assert f"{__file__}:" in text, "where it was borrowed: not in the pool, but in the code of the user"
        assert "To fix it, one of:" in text
        assert "raise max_size (now 1)" in text


async def test_a_timeout_leaves_the_line(dsn: str) -> None:
    async with _full_pool(dsn, 1, timeout_seconds=0.05) as pool:
        lease = await pool.acquire()

        async def wait_in_vain() -> None:
            with pytest.raises(PoolTimeout):
                await pool.acquire()

        async with anyio.create_task_group() as nursery:
            for _ in range(3):
                nursery.start_soon(wait_in_vain)
        assert pool.statistics().waiting == 0
        lease.release()
        assert pool.statistics().idle == 1


async def test_each_one_is_told_when_its_own_time_is_up(dsn: str) -> None:
    """One task tells all of them, those too who come when it has told others, and when it had nobody left to tell."""
    waited: list[float] = []
    async with _full_pool(dsn, 1, timeout_seconds=0.1) as pool:

        async def wait_in_vain(*, task_status: TaskStatus[None]) -> None:
            task_status.started()
            with pytest.raises(PoolTimeout) as failure:
                await pool.acquire()
            waited.append(failure.value.waited_seconds)

        with await pool.acquire():
            for _ in range(2):
                async with anyio.create_task_group() as nursery:
                    for _ in range(3):
                        await nursery.start(wait_in_vain)
                        await anyio.sleep(0.04)
    assert len(waited) == 6
    assert min(waited) >= 0.099, "nobody before its time"
    assert max(waited) < 1


class _Silent(Place):
    __slots__ = ("__weakref__",)

    def _wake(self) -> None:
        pass


def test_who_was_let_in_first_is_not_late_before_the_others() -> None:
    line = Line()
    waiters = {name: _Silent(None, reserved=False) for name in ("old", "quitter", "young", "first")}
    for moment, waiter in enumerate(waiters.values()):
        waiter.since = float(moment)
        line.join(waiter, first=waiter is waiters["first"])
    line.quit(waiters["quitter"])
    assert line.call_late(-1.0) == 0.0
    assert line.call_late(0.0) == 2.0, "the young one; one who quit waits no more"
    assert [name for name, waiter in waiters.items() if waiter.answered] == ["old"]
    assert (line.count, line.first()) == (2, waiters["first"])
    assert line.call_late(2.0) is None
    assert (line.count, waiters["young"].answered, line.first()) == (0, True, None)


def test_a_line_that_does_not_move_keeps_no_more_who_have_quit_than_a_few() -> None:
    """Such as callers with short timeouts, in their thousands, behind a transaction that has got stuck."""
    line, quitters = Line(), list[weakref.ref[Place]]()
    stay: list[Place] = [_Silent(None, reserved=False) for _ in range(10)]

    def come_and_quit() -> None:
        place = _Silent(None, reserved=False)
        quitters.append(weakref.ref(place))
        line.join(place)
        line.quit(place)

    for place in stay:
        line.join(place)
        for _ in range(1000):
            come_and_quit()
    assert line.count == len(stay)
    assert sum(quitter() is not None for quitter in quitters) <= 200
    assert [line.first() for _ in stay] == stay
    assert (line.count, line.first()) == (0, None)


async def test_a_full_line_turns_away(dsn: str) -> None:
    async with _full_pool(dsn, 1, max_waiting=2) as pool:
        lease = await pool.acquire()
        served = 0

        async def wait_in_line() -> None:
            nonlocal served
            with await pool.acquire():
                served += 1

        async def turned_away() -> None:
            with pytest.raises(TooManyRequests, match="2 tasks wait for a connection already, and max_waiting is 2") as failure:
                await pool.acquire()
            assert failure.value.safe_to_retry
            assert isinstance(failure.value, psycopg_pool.TooManyRequests)
            lease.release()

        async with anyio.create_task_group() as nursery:
            for _ in range(2):
                nursery.start_soon(wait_in_line)
            await until_waiting(pool, 2)
            nursery.start_soon(turned_away)
        assert served == 2


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: PoolSettings(min_size=3, max_size=2), "min_size"),
        (lambda: PoolSettings(min_size=-1), "min_size"),
        (lambda: PoolSettings(min_size=0, max_size=0), "max_size"),
        (lambda: PoolSettings(timeout_seconds=0), "timeout_seconds"),
        (lambda: PoolSettings(max_waiting=-1), "max_waiting"),
        (lambda: PoolSettings(cleanup_timeout_seconds=0), "cleanup_timeout_seconds"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], PoolSettings], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        make()
