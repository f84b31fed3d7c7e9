"""Through PgBouncer in transaction mode: everything works that can, nothing is left to strangers, and what cannot work says so.

PgBouncer has one server session in most tests, so that every client is the next stranger of every other.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import anyio
import psycopg
import pytest

from tests.database.cinema import MODELS, Credit, Film, fill
from tests.database.zoo import Animal
from tests.pool.pgbouncer import running_pgbouncer
from tests.wire.witness import Witness
from trioorm import Notification, identifier, open_database, select, sql
from trioorm.errors import ConnectFailed, UsageError
from trioorm.pool import Connection, Pooler, open_pool

_SHOWN = "SELECT current_setting('TimeZone'), current_setting('idle_in_transaction_session_timeout')"
_TIME_ZONE = sql("SELECT current_setting('TimeZone')").returns(str)
_PREPARED = "SELECT count(*) FROM pg_prepared_statements"


@pytest.fixture
def tokyo(witness: Witness) -> None:
    """Sessions of the database do not run in UTC by themselves."""
    witness.run("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone TO ''Asia/Tokyo''', current_database()); END $$")


@pytest.fixture
def bouncer(dsn: str) -> Iterator[str]:
    """The address of the test's database through PgBouncer, which has one server session."""
    with running_pgbouncer(dsn) as address:
        yield address


@contextmanager
def _stranger(address: str) -> "Generator[psycopg.Connection[tuple[object, ...]]]":
    with psycopg.connect(address, autocommit=True, prepare_threshold=None) as connection:
        yield connection


@pytest.mark.parametrize("pooler", ["transaction", None], ids=["said", "found out"])
@pytest.mark.usefixtures("tokyo")
async def test_strangers_meet_nothing_of_ours(bouncer: str, pooler: Pooler | None) -> None:
    with _stranger(bouncer) as stranger:
        before = stranger.execute(_SHOWN).fetchone()
        assert before == ("Asia/Tokyo", "0")
        async with open_database(bouncer, max_size=3, pooler=pooler) as db:
            await db.create_schema(Animal)
            for number in range(3):
                assert await db.fetch_value(_TIME_ZONE) == "UTC"
                assert stranger.execute(_SHOWN).fetchone() == before
                await db.insert(Animal(name=f"Ada {number}", age=3))
                async with db.transaction() as tx:
                    assert len(await tx.fetch_all(select(Animal).where(Animal.age == 3))) > 0
                    assert await tx.fetch_value(_TIME_ZONE) == "UTC"
                assert stranger.execute(_PREPARED).fetchone() == (0,)
            assert stranger.execute("SELECT pg_backend_pid()").fetchone() == (
                await db.fetch_value(sql("SELECT pg_backend_pid()").returns(int)),
            )


async def test_the_verbs_work(dsn: str) -> None:
    with running_pgbouncer(dsn, server_sessions=3) as bouncer:
        async with open_database(bouncer, max_size=20, pooler="transaction") as db:
            await db.create_schema(Animal)

            async def work(number: int) -> None:
                async with db.transaction() as tx:
                    await tx.insert(Animal(name=f"animal {number}", age=number))
                    async with tx.savepoint() as sp:
                        await sp.execute(sql("UPDATE animals SET age = age + 100 WHERE name = {name}", name=f"animal {number}"))
                    assert await tx.fetch_value(select(Animal.age).where(Animal.name == f"animal {number}")) == number + 100

            async with anyio.create_task_group() as tasks:
                for number in range(40):
                    tasks.start_soon(work, number)
            await db.copy_in(Animal, [Animal(name=f"copied {number}", age=number) for number in range(100)])
            async with db.stream(select(Animal.age)) as ages:
                assert len([age async for age in ages]) == 140
            assert await db.fetch_value(sql("SELECT count(*) FROM animals WHERE age >= 100").returns(int)) == 40


async def test_copies_through_temporary_tables_leave_none_behind(bouncer: str) -> None:
    temporary = sql("SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'").returns(int)
    async with open_database(bouncer, max_size=3, pooler="transaction") as db:
        await db.create_schema(Animal)

        async def load(first: int) -> None:
            animals = [Animal(name=str(number), age=number % 9) for number in range(first, first + 200)]
            await db.copy_in(Animal, animals, on_conflict="do_update", on=Animal.name)

        async with anyio.create_task_group() as tasks:  # the rows overlap, and all go through the one session of the server
            for first in range(0, 1000, 100):
                tasks.start_soon(load, first)
        assert await db.copy_in(Animal, [Animal(name="7", age=1)], on_conflict="do_nothing") == 0
        assert await db.copy_in(identifier("animals"), [("new", 1)], columns=["name", "age"], on_conflict="do_nothing") == 1
        copied: list[bytes] = []
        async with db.copy_out(select(Animal.name).where(Animal.age == 8), format="csv") as blocks:
            copied = [block async for block in blocks]
        assert len(b"".join(copied).splitlines()) == 122
        async with db.copy_out(select(Animal.name).where(Animal.age < 9), format="csv"):
            pass  # left at once
        assert await db.fetch_value(sql("SELECT count(*) FROM animals").returns(int)) == 1101
        assert await db.fetch_value(temporary) == 0


async def test_a_cancelled_statement_is_stopped_on_the_server(bouncer: str, witness: Witness) -> None:
    async with open_database(bouncer, max_size=1) as db:
        pid = await db.fetch_value(sql("SELECT pg_backend_pid()").returns(int))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(db.execute, sql("SELECT pg_sleep(60)"))
            await witness.until_waiting(pid)
            tasks.cancel_scope.cancel()
        await witness.until("SELECT state = 'idle' FROM pg_stat_activity WHERE pid = %s", pid)
        assert await db.fetch_value(sql("SELECT 'asked just now'").returns(str)) == "asked just now"


@pytest.mark.parametrize("pooler", ["transaction", None], ids=["said", "found out"])
async def test_listening_is_refused_with_the_way_out(bouncer: str, pooler: Pooler | None) -> None:
    async with open_database(bouncer, pooler=pooler) as db:
        with pytest.raises(UsageError, match="listen_address=") as refusal:
            async with db.listen("news"):
                pytest.fail("it would hear nothing")
        assert not refusal.value.safe_to_retry
        assert await db.fetch_value(sql("SELECT 1").returns(int)) == 1, "the database goes on"


async def test_listening_at_an_address_of_its_own(bouncer: str, dsn: str) -> None:
    async with open_database(bouncer, listen_address=dsn) as db, db.listen("news") as events:
        await db.notify("news", "hello")
        event = await anext(aiter(events))
        assert isinstance(event, Notification)
        assert (event.channel, event.payload) == ("news", "hello")


async def test_a_listen_address_that_leads_through_the_pooler_is_refused(bouncer: str) -> None:
    async with open_database(bouncer, listen_address=bouncer) as db:
        with pytest.raises(UsageError, match="listen_address leads through a connection pooler"):
            async with db.listen("news"):
                pytest.fail("it would hear nothing")


async def test_a_pooler_that_keeps_sessions_may_be_used_as_a_server(dsn: str) -> None:
    with running_pgbouncer(dsn, pool_mode="session", server_sessions=5) as bouncer:
        async with open_database(bouncer, pooler="session") as db, db.listen("news") as events:
            await db.notify("news", "hello")
            event = await anext(aiter(events))
            assert isinstance(event, Notification)
            assert event.payload == "hello"
            with_a_name = sql("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'trioorm%'").returns(int)
            assert await db.fetch_value(with_a_name) >= 1


async def test_without_a_pooler_nothing_is_given_up(dsn: str) -> None:
    async with open_pool(dsn) as pool:
        with await pool.acquire() as connection:
            assert connection.statement_cache_size == 500
            assert connection.prepare_threshold == 5


async def test_statements_that_need_a_session_are_refused_before_they_are_sent(bouncer: str) -> None:
    with _stranger(bouncer) as stranger:
        async with open_database(bouncer, max_size=1) as db:
            for text in (sql("LISTEN news"), sql("SET search_path = nowhere"), sql("CREATE TEMPORARY TABLE mine (n int)")):
                with pytest.raises(UsageError, match="needs a session of its own"):
                    await db.execute(text)
            with pytest.raises(UsageError, match="needs a session of its own"):
                async with db.stream(sql("SELECT id FROM (SELECT 1 AS id, pg_advisory_lock(1)) q").returns(int)) as rows:
                    await anext(rows)
            assert stranger.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)
            assert stranger.execute("SELECT count(*) FROM pg_listening_channels()").fetchone() == (0,)
            assert stranger.execute("SHOW search_path").fetchone() != ("nowhere",)
            assert db.statistics().on_loan == 0


async def test_in_a_transaction_the_refusal_changes_nothing(bouncer: str) -> None:
    async with open_database(bouncer, max_size=1) as db:
        await db.create_schema(Animal)
        async with db.transaction() as tx:
            with pytest.raises(UsageError, match="listen_address="):
                await tx.execute(sql("LISTEN news"))
            await tx.insert(Animal(name="Ada"))
            await tx.execute(sql("CREATE TEMPORARY TABLE mine ON COMMIT DROP AS SELECT 1 AS n"))
            await tx.execute(sql("SET LOCAL search_path = public"))
        assert await db.fetch_value(select(Animal.name)) == "Ada"


async def test_siblings_of_a_refused_statement_go_on(bouncer: str) -> None:
    """Statements that wait for their turn are sent together, but each is refused alone."""
    refused: list[UsageError] = []
    async with open_database(bouncer, max_size=1) as db:
        await db.create_schema(Animal)
        async with db.transaction() as tx:

            async def listen() -> None:
                try:
                    await tx.execute(sql("LISTEN news"))
                except UsageError as refusal:
                    refused.append(refusal)

            tx.start_soon(tx.execute, sql("SELECT pg_sleep(0.05)"))
            await anyio.wait_all_tasks_blocked()
            for number in range(3):
                tx.start_soon(tx.insert, Animal(name=str(number)))
                tx.start_soon(listen)
        assert len(refused) == 3
        assert len(await db.fetch_all(select(Animal))) == 3


async def test_psycopgs_cursors_refuse_too(bouncer: str) -> None:
    async with open_pool(bouncer, max_size=1) as pool:
        with await pool.acquire() as connection:
            with pytest.raises(UsageError, match="listen_address=") as refusal:
                await connection.execute("LISTEN news")
            assert isinstance(refusal.value, psycopg.ProgrammingError)
            with pytest.raises(UsageError, match="SET LOCAL"):
                await connection.cursor().executemany("SET search_path = %s", [("a",)])
            with pytest.raises(UsageError, match="SET LOCAL"):
                await connection.execute("SELECT 1; SET search_path = nowhere")
            with pytest.raises(UsageError, match="advisory_lock"):
                async for _ in connection.cursor().stream("WITH one AS (SELECT pg_advisory_lock(1)) SELECT * FROM one"):
                    pytest.fail("a stranger would have the lock")
            async with connection.transaction():
                async with connection.cursor("held", withhold=True) as cursor:
                    with pytest.raises(UsageError, match="leave WITH HOLD out"):
                        await cursor.execute("SELECT 1")
                async with connection.cursor("mine") as cursor:
                    await cursor.execute("SELECT 1")
                    assert await cursor.fetchall() == [(1,)]
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_a_configure_hook_that_would_leave_something_is_told(bouncer: str) -> None:
    async def configure(connection: Connection) -> None:
        await connection.execute("SET search_path = shop")

    with pytest.raises(UsageError, match="SET LOCAL"):
        async with open_pool(bouncer, min_size=1, configure=configure):
            pytest.fail("strangers would find the setting")


@pytest.mark.parametrize("pool_mode", ["none", "session"])
async def test_where_there_is_a_session_nothing_is_refused(dsn: str, pool_mode: str) -> None:
    with running_pgbouncer(dsn, pool_mode="session") as bouncer:
        async with open_database(bouncer if pool_mode == "session" else dsn, pooler="session", max_size=1) as db:
            await db.execute(sql("LISTEN news"))
            await db.execute(sql("SET search_path = public"))
            await db.execute(sql("CREATE TEMPORARY TABLE mine (n int)"))


async def test_startup_options_that_it_refuses_are_named(bouncer: str) -> None:
    with pytest.raises(ConnectFailed, match="leave `options` out of the address"):
        async with open_database(f"{bouncer} options='-c search_path=public'"):
            pytest.fail("PgBouncer 1.18 refuses them")


async def test_an_unknown_kind_of_pooler_is_refused(dsn: str) -> None:
    with pytest.raises(ValueError, match='"transaction", "session" or None'):
        open_database(dsn, pooler="statement")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - shown to be refused


async def test_a_load_hands_its_keys_on_within_its_transaction(bouncer: str, witness: Witness) -> None:
    async with open_database(bouncer, max_size=2, pooler="transaction") as db:
        await db.create_schema(*MODELS)
        await fill(db)
        with _stranger(bouncer) as stranger:
            for _ in range(3):
                films = await db.fetch_all(
                    select(Film).order_by(Film.id).load(Film.cast, Film.credits.order_by(Credit.id).load(Credit.person))
                )
                assert [[credit.person.name for credit in film.credits] for film in films] == [["Scott", "Weaver", "Holm"], ["Weaver"], []]
                left = stranger.execute("SELECT current_setting('trioorm.keys_0_0', true)").fetchone()
                assert left in (("",), (None,)), "nothing is left of them"
