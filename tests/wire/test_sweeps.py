"""Connecting and flying, cancelled at every suspension in every way: on Trio, asyncio and uvloop."""

from collections.abc import Awaitable, Callable

import anyio
import psycopg
import pytest

from tests.wire.witness import Witness, again, step, works
from trioorm.testing import Outcome, SweepReport, SweepRun, server_is_quiet, sweep
from trioorm.wire import AnyIOConnection, OnCancel, RowStream, Statement, after_cleanup, command

_INSERT = Statement(b"INSERT INTO person SELECT $1 FROM pg_sleep(0.003)", (25,))

Operation = Callable[[AnyIOConnection], Awaitable[object]]


@pytest.fixture(autouse=True)
def _table(witness: Witness) -> None:
    witness.run("CREATE TABLE person (name text)")


async def _sweep(dsn: str, witness: Witness, operate: Operation, *, writes: int = 0, may_absorb: bool = False) -> SweepReport:
    """Sweep over what is done with one connection, and see after each run that the server is quiet and the connection good."""
    connection = await AnyIOConnection.connect(dsn, autocommit=True)

    async def check(run: SweepRun) -> None:
        await server_is_quiet(witness.connection)
        assert await works(connection), "with a server that answers, no connection is lost"
        if writes:
            assert witness.value("SELECT count(*) FROM person") == (writes if run.ended_normally else 0)
            witness.run("TRUNCATE person")

    async with connection:
        report = await sweep(lambda _: operate(connection), check=check, may_absorb=may_absorb)
    assert report.cancellations >= len(report.kinds), f"\n{report}"
    return report


async def _connecting(dsn: str, witness: Witness) -> None:
    async def operation() -> None:
        async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
            await connection.fly([step("SELECT 1")])

    async def check(run: SweepRun) -> None:
        await witness.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()")

    report = await sweep(lambda _: operation(), check=check, may_absorb=True)  # the block ends with a commit, which is seen through
    assert report.cancellations >= 2 * len(report.kinds), f"\n{report}"


async def _reading(dsn: str, witness: Witness) -> None:
    report = await _sweep(dsn, witness, lambda connection: connection.fly([step("SELECT pg_sleep(0.003)"), step("SELECT 1")]))
    for kind in report.kinds:
        assert Outcome.ABSORBED not in report.outcomes(kind)


async def _writing(dsn: str, witness: Witness) -> None:
    await _sweep(
        dsn,
        witness,
        lambda connection: connection.fly([again(_INSERT, "Ada"), again(_INSERT, "Grace")], on_cancel=OnCancel.SETTLE),
        writes=2,
        may_absorb=True,
    )


async def _finishing(dsn: str, witness: Witness) -> None:
    report = await _sweep(
        dsn, witness, lambda connection: connection.fly([again(_INSERT, "Ada")], on_cancel=OnCancel.FINISH), writes=1, may_absorb=True
    )
    for kind in report.kinds:
        assert Outcome.CANCELLED not in report.outcomes(kind), "what is to be finished always ends normally"


async def _large(dsn: str, witness: Witness) -> None:
    """Both sides write more than a socket holds, so the waits are for reading and writing at once."""
    echo = Statement(b"SELECT $1::text", (25,))
    await _sweep(dsn, witness, lambda connection: connection.fly([again(echo, letter * 700_000) for letter in "ab"]))


async def _transaction(dsn: str, witness: Witness) -> None:
    async def operate(connection: AnyIOConnection) -> None:
        error: BaseException | None = None
        try:
            await connection.fly([command(b"BEGIN"), again(_INSERT, "Ada")])
            await connection.fly([again(_INSERT, "Grace")])
            await connection.fly([command(b"COMMIT")], on_cancel=OnCancel.FINISH)
        except BaseException as raised:
            error = raised
            _, held = await connection.fly_shielded([command(b"ROLLBACK")], seconds=1)
            error = after_cleanup(raised, held)
        if error is not None:
            raise error

    await _sweep(dsn, witness, operate, writes=2, may_absorb=True)


async def _psycopg(dsn: str, witness: Witness) -> None:
    async def operate(connection: AnyIOConnection) -> None:
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT pg_sleep(0.003)")
            await cursor.fetchall()

    await _sweep(dsn, witness, operate)


_SWEEPS = [_connecting, _reading, _writing, _finishing, _large, _transaction, _psycopg]


@pytest.mark.parametrize("swept", _SWEEPS)
async def test_sweep(dsn: str, witness: Witness, swept: Callable[[str, Witness], Awaitable[None]]) -> None:
    await swept(dsn, witness)


@pytest.mark.parametrize("swept", _SWEEPS)
def test_sweep_on_uvloop(dsn: str, witness: Witness, swept: Callable[[str, Witness], Awaitable[None]]) -> None:
    anyio.run(swept, dsn, witness, backend="asyncio", backend_options={"use_uvloop": True})


def test_uvloop_does_the_rest_too(dsn: str, witness: Witness) -> None:
    """The paths that differ between the loops: waiting to read, to write and for both, pausing, and a connection that dies."""

    async def main() -> None:
        async with await AnyIOConnection.connect(dsn, autocommit=True) as connection:
            assert await works(connection)
            [result] = await connection.fly([step("SELECT length($1)", "x" * 20_000_000)])
            assert result.get_value(0, 0) == b"20000000"
            stream = RowStream(connection, step("SELECT repeat('x', 1000) FROM generate_series(1, 20000)"), chunk_rows=100)
            assert await stream.next_chunk() is not None
            await witness.until_waiting(connection.info.backend_pid, "ClientWrite")
            rows = 100
            while (chunk := await stream.next_chunk()) is not None:
                rows += chunk.ntuples
            assert rows == 20000
            witness.terminate(connection.info.backend_pid)
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("SELECT 1")

    anyio.run(main, backend="asyncio", backend_options={"use_uvloop": True})
