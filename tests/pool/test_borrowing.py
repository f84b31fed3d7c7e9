"""A block for one connection: given back at its end, committed or rolled back, whatever happens in it."""

from functools import partial

import psycopg
import pytest

from tests.wire.witness import Witness, works
from trioorm.errors import TransactionRolledBack
from trioorm.pool import Connection, open_pool
from trioorm.testing import SweepRun, pool_is_whole, server_is_quiet, sweep
from trioorm.wire import AnyIOConnection


async def _without_autocommit(dsn: str) -> Connection:
    return await AnyIOConnection.connect(dsn)


async def test_a_block_gives_its_connection_back_and_commits(dsn: str, witness: Witness) -> None:
    witness.run("CREATE TABLE jobs (name text)")
    async with open_pool(partial(_without_autocommit, dsn), max_size=1) as pool:
        async with pool.connection() as connection:
            [loan] = pool.statistics().loans
            assert "test_borrowing.py" in loan.place, "and not contextlib"
            await connection.execute("INSERT INTO jobs VALUES ('done')")
        with pytest.raises(LookupError):
            async with pool.connection() as again:
                assert again is connection
                await again.execute("INSERT INTO jobs VALUES ('undone')")
                raise LookupError
        assert witness.value("SELECT string_agg(name, ',') FROM jobs") == "done"
        async with pool.connection() as again:
            assert again is connection, "rolled back, so it is clean"


async def test_a_block_whose_transaction_has_failed_does_not_end_normally(dsn: str) -> None:
    async with open_pool(partial(_without_autocommit, dsn), max_size=1) as pool:
        lent: list[Connection] = []
        with pytest.raises(TransactionRolledBack, match="To fix it: let the error leave the block"):
            async with pool.connection() as connection:
                lent.append(connection)
                with pytest.raises(psycopg.errors.DivisionByZero):
                    await connection.execute("SELECT 1 / 0")
        async with pool.connection() as again:
            assert [again] == lent


async def test_a_block_whose_session_ends_keeps_its_error(dsn: str, witness: Witness) -> None:
    async with open_pool(partial(_without_autocommit, dsn), max_size=1) as pool:
        with pytest.raises(LookupError):
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
                witness.terminate(connection.info.backend_pid)
                raise LookupError
        async with pool.connection() as another:
            assert await works(another)


@pytest.mark.parametrize("fails", [False, True])
async def test_sweep_over_a_block_for_one_connection(dsn: str, witness: Witness, fails: bool) -> None:
    witness.run("CREATE TABLE jobs (name text)")
    async with open_pool(partial(_without_autocommit, dsn), max_size=1) as pool:

        async def operation() -> None:
            try:
                async with pool.connection() as connection:
                    await connection.execute("INSERT INTO jobs VALUES ('a')")
                    await connection.execute("INSERT INTO jobs VALUES ('b')")
                    if fails:
                        raise LookupError
            except LookupError:
                pass

        async def check(run: SweepRun) -> None:
            await pool_is_whole(pool.statistics)
            await server_is_quiet(witness.connection)
            assert witness.value("SELECT count(*) FROM jobs") == (2 if run.ended_normally and not fails else 0)
            witness.run("TRUNCATE jobs")

        report = await sweep(lambda _: operation(), check=check, may_absorb=True)
        assert report.suspensions >= 3, f"\n{report}"
