"""Lanes: many reads through few connections. Each reader gets its own answer or error, whatever happens to the others beside it."""

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from tests.pool.lanes import OTHER_SESSIONS, Reads, open_lanes, proven, proven_echo, proven_step
from tests.pool.test_pool_line import until_idle
from tests.wire.witness import Witness, again, step
from trioorm.errors import DatabaseError, QueryCanceled, WrongDatabaseOwner
from trioorm.pool import open_pool
from trioorm.testing import count_suspensions, server_is_quiet
from trioorm.transaction import PoolRunner
from trioorm.wire import Step, lane
from trioorm.wire.pace import Pace

# Who goes on a lane.


@pytest.mark.usefixtures("patient")
async def test_many_readers_share_a_connection_and_each_gets_its_own_answer(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness, max_size=2) as reads:
        echo, before = proven_echo(), reads.pool.statistics()
        answers: dict[int, str | None] = {}

        async def read(number: int) -> None:
            answers[number] = await reads.value(again(echo, str(number)))

        async with anyio.create_task_group() as nursery:
            for number in range(200):
                nursery.start_soon(read, number)
        assert answers == {number: str(number) for number in range(200)}
        after = reads.pool.statistics()
        assert after.lanes.reads - before.lanes.reads == 200
        assert after.lanes.most == 200
        assert after.requests_num == before.requests_num, "no connection of the pool was asked for"
        assert witness.value(OTHER_SESSIONS) == 2


@pytest.mark.usefixtures("patient")
async def test_a_read_on_a_lane_suspends_once(dsn: str) -> None:
    async with open_lanes(dsn, None) as reads:
        read = again(proven_echo(), "x")
        await reads.value(read)
        assert await count_suspensions(reads.value(read)) == 1


async def test_a_statement_joins_when_it_has_been_fast_on_its_own(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        read = step("SELECT 'fast'")
        runs, before = 0, reads.figures.reads
        with anyio.fail_after(10):
            while reads.figures.reads == before:
                assert await reads.value(read) == "fast"
                runs += 1
        assert runs > 5, "the first runs are on connections of the pool"
        slow = step("SELECT 'slow' FROM pg_sleep(0.01)")  # always more than fast
        for _ in range(10):
            assert await reads.value(slow) == "slow"
        assert not slow.statement.pace.is_proven
        assert reads.figures.reads == before + 1


async def test_a_few_readers_take_connections_and_more_share(dsn: str) -> None:
    async with open_pool(dsn, min_size=11, max_size=12, lanes=1) as pool:
        await until_idle(pool, 11)
        reads, echo = Reads(pool), proven_echo()
        for number in range(5):
            assert await reads.value(again(echo, str(number))) == str(number)
        assert len(reads.lanes) == 0, "for a single reader no lane is even opened"

        async def read_on() -> None:
            while not many.is_set():
                await reads.value(again(echo, "x"))
                if reads.figures.reads:
                    many.set()

        many = anyio.Event()
        with anyio.fail_after(10):
            async with anyio.create_task_group() as nursery:
                for _ in range(10):
                    nursery.start_soon(read_on)
        with anyio.fail_after(10):
            while reads.lanes.are_called_for:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.001)
        before = reads.figures.reads
        assert await reads.value(again(echo, "alone again")) == "alone again"
        assert reads.figures.reads == before


async def test_a_write_and_several_statements_together_never_join(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        before = reads.figures
        read, runner = proven_step("SELECT 'x'"), PoolRunner(reads.pool)
        await runner.run_one(read.statement, read.values, read.formats, is_write=True)
        await runner.run([read, read], is_write=False)
        assert reads.figures == before


async def test_what_is_no_select_for_the_server_is_never_proven(dsn: str, witness: Witness) -> None:
    """Somebody may mark it a read: on a lane it would change the session of others."""
    async with open_lanes(dsn, witness) as reads:
        sets = step("SET application_name TO 'changed'")
        shows = step("SHOW application_name")
        for _ in range(20):
            await PoolRunner(reads.pool).run_one(sets.statement, (), (), is_write=False)
            await reads.value(shows)
        assert not sets.statement.pace.is_proven
        assert not shows.statement.pace.is_proven


@pytest.mark.usefixtures("patient")
async def test_a_full_lane_sends_readers_to_the_pool(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness, lane_depth=3, max_size=4) as reads:
        echo, before = proven_echo(), reads.figures
        async with anyio.create_task_group() as nursery:
            for number in range(10):
                nursery.start_soon(reads.value, again(echo, str(number)))
        assert reads.figures.reads - before.reads == 3
        assert reads.figures.turned_away - before.turned_away == 7
        assert reads.figures.most == 3


@pytest.mark.usefixtures("patient")
async def test_readers_spread_over_the_lanes(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness, lanes=2) as reads:
        echo = proven_echo()
        async with anyio.create_task_group() as nursery:
            for number in range(20):
                nursery.start_soon(reads.value, again(echo, str(number)))
        assert reads.figures.most == 10


async def test_use_from_elsewhere_is_refused(dsn: str, backend: str) -> None:
    async with open_lanes(dsn, None) as reads:
        read = again(proven_echo(), "x")

        def elsewhere() -> None:
            with pytest.raises(WrongDatabaseOwner):
                anyio.run(reads.value, read, backend=backend)

        await anyio.to_thread.run_sync(elsewhere)
        assert reads.lane.depth == 0


# Errors, and statements prepared.


@pytest.mark.usefixtures("patient")
async def test_an_error_is_its_readers_alone(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        divides = proven(step("SELECT (6 / $1::int)::text", "1")).statement
        answers: dict[int, str | None] = {}

        async def read(number: int) -> None:
            try:
                answers[number] = await reads.value(again(divides, str(number)))
            except DatabaseError as error:
                answers[number] = error.sqlstate

        before = reads.pool.statistics()
        async with anyio.create_task_group() as nursery:
            for number in (0, 1, 0, 2, 3, 0):
                nursery.start_soon(read, number)
        assert answers == {0: "22012", 1: "6", 2: "3", 3: "2"}
        assert reads.figures.reads - before.lanes.reads == 6
        assert reads.pool.statistics().requests_num == before.requests_num, "nobody had to be sent elsewhere"


@pytest.mark.usefixtures("patient")
async def test_more_statements_than_are_kept_prepared(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness, max_size=2) as reads:
        reads.lane.connection.statement_cache_size = 3
        each = [proven(step(f"SELECT '{number}'")) for number in range(8)]
        for _ in range(3):
            answers: dict[int, str | None] = {}

            async def read(number: int) -> None:
                answers[number] = await reads.value(each[number])  # noqa: B023 - this round's

            async with anyio.create_task_group() as nursery:
                for number in range(8):
                    nursery.start_soon(read, number)
            assert answers == {number: str(number) for number in range(8)}
        assert len(reads.lane.connection.prepared_names) == 3
        assert reads.figures.sent_elsewhere == 0


@pytest.mark.usefixtures("patient")
async def test_nothing_is_prepared_when_nothing_may_be_kept(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        reads.lane.connection.statement_cache_size = 0
        before = reads.figures
        for number in range(3):
            assert await reads.value(again(proven_echo(), str(number))) == str(number)
        assert reads.figures.reads - before.reads == 3
        assert len(reads.lane.connection.prepared_names) <= 1


@pytest.mark.usefixtures("patient")
async def test_a_statement_whose_plan_is_stale_runs_elsewhere_and_is_prepared_anew(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE changing (value integer)")
    witness.run("INSERT INTO changing VALUES (7)")
    async with open_lanes(dsn, witness) as reads:
        read = proven_step("SELECT * FROM changing")
        assert await reads.value(read) == "7"
        witness.run("ALTER TABLE changing ALTER value TYPE text USING 'seven'")
        before = reads.figures
        assert await reads.value(read) == "seven"
        assert reads.figures.sent_elsewhere - before.sent_elsewhere == 1
        assert await reads.value(read) == "seven"
        assert reads.figures.sent_elsewhere - before.sent_elsewhere == 1
    witness.run("DROP TABLE changing")


async def test_a_statement_that_cannot_be_prepared_leaves_its_neighbours_alone(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        wrong, echo = proven_step("SELECT no_such_column"), proven_echo()
        answers: list[str | None] = []

        async def fails() -> None:
            with pytest.raises(DatabaseError) as caught:
                await reads.value(wrong)
            assert caught.value.sqlstate == "42703"

        async def read() -> None:
            answers.append(await reads.value(again(echo, "x")))

        async with anyio.create_task_group() as nursery:
            for _ in range(3):
                nursery.start_soon(fails)
                nursery.start_soon(read)
        assert answers == ["x"] * 3


@pytest.mark.usefixtures("patient")
async def test_values_and_rows_larger_than_a_socket_takes(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        echo = proven_echo()
        large = [str(number) * 3_000_000 for number in range(6)]
        right: list[bool] = []

        async def read(number: int) -> None:
            right.append(await reads.value(again(echo, large[number])) == large[number])

        before = reads.figures
        await read(0)  # nobody else's answer wakes the lane while this is on its way
        async with anyio.create_task_group() as nursery:
            for number in range(1, 6):
                nursery.start_soon(read, number)
        assert right == [True] * 6
        assert reads.figures.reads - before.reads == 6


@pytest.mark.usefixtures("patient")
async def test_nobody_is_overtaken_without_end(dsn: str, witness: Witness) -> None:
    """Who joins is served after those before, whatever comes behind."""
    async with open_lanes(dsn, witness) as reads, anyio.create_task_group() as nursery:
        echo, others, only = proven_echo(), 50, reads.lane

        async def read_on(scope: anyio.CancelScope) -> None:
            with scope:
                while True:
                    await reads.value(again(echo, "x"))

        scopes = [anyio.CancelScope() for _ in range(others)]
        for scope in scopes:
            nursery.start_soon(read_on, scope)
        await reads.until_depth(others)
        for number in range(20):
            before = only.reads
            assert await reads.value(again(echo, str(number))) == str(number)
            assert only.reads - before <= 2 * (others + 1)
        for scope in scopes:
            scope.cancel()


# Readers that leave.


async def test_a_cancelled_reader_leaves_at_once_and_its_statement_is_stopped(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        pid = reads.pid
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(reads.value, proven_step("SELECT 'x' FROM pg_sleep(60)"))
                await witness.until_waiting(pid)
                scope.cancel()
        assert reads.lane.depth == 1, "it did not wait for its statement to be stopped"
        await server_is_quiet(witness.connection)
        await reads.until_depth(0)
        assert reads.pid == pid, "the lane lives on"
        assert await reads.value(again(proven_echo(), "after")) == "after"


async def test_a_statement_that_nobody_waits_for_is_stopped_before_it_is_slow(
    dsn: str, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those behind it wait for nothing else, and get their answers where they are."""
    monkeypatch.setattr(lane, "SLOW_SECONDS", 60.0)
    monkeypatch.setattr(lane, "HELD_UP_SECONDS", 0.5)  # time enough to stand behind it
    async with open_lanes(dsn, witness) as reads:
        left, answers = proven_step("SELECT 'x' FROM pg_sleep(60)"), list[str | None]()

        async def read() -> None:
            answers.append(await reads.value(again(proven_echo(), "behind")))

        async with anyio.create_task_group() as nursery:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as leaving:
                    leaving.start_soon(reads.value, left)
                    await reads.until_depth(1)
                    nursery.start_soon(read)
                    await reads.until_depth(2)
                    scope.cancel()
        assert answers == ["behind"]
        assert reads.figures.sent_elsewhere == 0
        assert not left.statement.pace.is_proven, "it was slow enough to be stopped"


async def test_a_statement_that_goes_on_after_it_was_stopped_is_stopped_again(dsn: str, witness: Witness) -> None:
    witness.run(
        """
        CREATE OR REPLACE FUNCTION hard_of_hearing() RETURNS text LANGUAGE plpgsql AS $$
        BEGIN
            BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(60); END;
            RETURN 'deaf';
        END $$
        """
    )
    async with open_lanes(dsn, witness, cleanup_timeout_seconds=5.0) as reads:
        pid = reads.pid
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(reads.value, proven_step("SELECT hard_of_hearing()"))
                await witness.until_waiting(pid)
                scope.cancel()
        await server_is_quiet(witness.connection)
        assert reads.pid == pid, "the lane lives on"
    witness.run("DROP FUNCTION hard_of_hearing")


async def test_a_reader_who_leaves_before_its_answer_costs_nobody_anything(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        echo = proven_echo()
        answers: dict[int, str | None] = {}

        async def read(number: int) -> None:
            with anyio.CancelScope() as scope:
                scopes[number] = scope
                answers[number] = await reads.value(again(echo, str(number)))

        scopes: dict[int, anyio.CancelScope] = {}
        async with anyio.create_task_group() as nursery:
            for number in range(50):
                nursery.start_soon(read, number)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            for number in range(0, 50, 3):
                scopes[number].cancel()
        assert all(answer == str(number) for number, answer in answers.items())
        assert {number for number in range(50) if number % 3} <= set(answers)


async def test_a_neighbour_hit_by_a_late_cancel_is_run_again(dsn: str, witness: Witness, guarded: Step) -> None:
    async with open_lanes(dsn, witness) as reads:
        answers: list[str | None] = []

        async def read() -> None:
            answers.append(await reads.value(guarded))

        async with anyio.create_task_group() as nursery:
            with witness.locked("guarded") as unlock:
                nursery.start_soon(read)
                await witness.until_waiting(reads.pid, "relation")
                await reads.lane.cancel_head()  # as if its turn had come while the request was on its way
                await reads.until_depth(0)
                assert reads.figures.sent_elsewhere == 1
                assert answers == []
                unlock()
        assert answers == ["guarded"]


async def test_a_cancel_that_we_did_not_send_is_an_error(dsn: str, witness: Witness) -> None:
    async with open_lanes(dsn, witness) as reads:
        pid = reads.pid
        async with anyio.create_task_group() as nursery:

            async def read() -> None:
                with pytest.raises(QueryCanceled):
                    await reads.value(proven_step("SELECT 'x' FROM pg_sleep(60)"))

            nursery.start_soon(read)
            await witness.until_waiting(pid)
            witness.run("SELECT pg_cancel_backend(%s)", pid)
        assert reads.figures.sent_elsewhere == 0


async def test_a_lane_whose_statement_cannot_be_stopped_is_given_up(dsn: str, witness: Witness) -> None:
    witness.run(
        """
        CREATE OR REPLACE FUNCTION deaf(seconds float) RETURNS text LANGUAGE plpgsql AS $$
        DECLARE ends_at timestamptz := clock_timestamp() + seconds * interval '1 second';
        BEGIN
            WHILE clock_timestamp() < ends_at LOOP
                BEGIN PERFORM pg_sleep(seconds); EXCEPTION WHEN query_canceled THEN NULL; END;
            END LOOP;
            RETURN 'deaf';
        END $$
        """
    )
    async with open_lanes(dsn, None, cleanup_timeout_seconds=0.3, max_size=2) as reads:
        lane, pid = reads.lane, reads.pid
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(reads.value, proven_step("SELECT deaf(3)"))
                await witness.until_waiting(pid)
                scope.cancel()
        with anyio.fail_after(2):
            while lane in reads.lanes.open_lanes:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.005)
        assert witness.is_alive(pid), "it was not its own end that ended the lane"
        echo = proven_echo()
        while reads.pool.statistics().leaving:
            assert await reads.value(again(echo, "elsewhere")) == "elsewhere"
            figures = reads.pool.statistics()
            assert figures.pool_size + figures.lanes.open + figures.leaving <= 2, "there is no room for another one yet"
        await reads.until_open(1)
    await witness.until_gone(pid)
    witness.run("DROP FUNCTION deaf")


# Heads that are slow.


async def test_readers_behind_a_slow_head_are_served_elsewhere(dsn: str, witness: Witness, guarded: Step) -> None:
    """Without that, the statement that would unlock the head might wait behind it, for ever."""
    async with open_lanes(dsn, witness) as reads:
        blocked, echo = guarded, proven_echo()
        assert await reads.value(blocked) == "guarded"
        answers: list[str | None] = []

        async def read_blocked() -> None:
            answers.append(await reads.value(blocked))

        async with anyio.create_task_group() as nursery:
            with witness.locked("guarded") as unlock:
                nursery.start_soon(read_blocked)
                await witness.until_waiting(reads.pid, "relation")
                before = reads.figures
                with anyio.fail_after(5):
                    assert await reads.value(again(echo, "behind")) == "behind"
                    assert await reads.value(again(echo, "newcomer")) == "newcomer"
                assert answers == []
                assert reads.figures.reads == before.reads
                assert reads.figures.turned_away > before.turned_away, "the newcomer is not let in"
                assert not blocked.statement.pace.is_proven
                unlock()
        assert answers == ["guarded"]
        assert await reads.value(again(echo, "afterwards")) == "afterwards"
        assert not reads.lane.is_slow


def test_slow_runs_are_no_proof_and_those_between_say_nothing() -> None:
    pace = Pace()
    for seconds in (0.001, 0.001, 0.01, 0.001, 0.001, 0.02, 0.001, 0.001, 0.008, 0.001, 0.001):
        pace.note(seconds)
    assert not pace.is_proven
    pace.note(0.001)
    assert pace.is_proven


def test_a_statement_that_held_others_up_must_be_fast_more_often_until_it_was_fast_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("trioorm.wire.pace.monotonic", lambda: now)
    pace = Pace()
    runs: list[int] = []
    for fast_seconds in (0.0, 59.0, 1.0, 60.0, 1.0, 0.0):
        runs.append(0)
        while not pace.is_proven:
            pace.note(0.0)
            runs[-1] += 1
        now += fast_seconds
        pace.was_slow()
        pace.was_slow()  # the next head of the lane, which had joined before
    assert runs == [5, 10, 20, 40, 5, 10]
