"""Sweeps over a ledger: an operation is cancelled everywhere and in every way, and after each run everything must be whole.

The contract of a run: the operation's rows are there if it ended normally, else none of them; the pool is whole; no session of the server
runs anything or has a transaction open; the connections answer what they are asked, not an older question. That exactly one cancellation
came out is checked by the sweep itself.
"""

from collections.abc import Awaitable, Callable, Sequence

from tests.transaction.ledger import keys_in, open_ledger
from tests.wire.witness import Witness
from trioorm import Database, sql
from trioorm.testing import SweepReport, SweepRun, pool_is_whole, server_is_quiet, sweep

Operation = Callable[[Database], Awaitable[None]]


async def sweep_ledger(
    dsn: str,
    witness: Witness,
    operation: Operation,
    *,
    leaves: Sequence[int],
    before: Sequence[int] = (),
    may_absorb: bool,
    also: Callable[[SweepRun], Awaitable[None]] | None = None,
    through: str | None = None,
) -> SweepReport:
    """Sweep an operation.

    Args:
        dsn: of an empty database.
        witness: of the same database.
        operation: on the database, with everything it needs in it.
        leaves: the keys that are there when it has ended normally.
        before: the keys that are there before each run, and after it when it did not end normally.
        may_absorb: it holds a write, which may take effect in spite of the cancellation.
        also: another check after each run.
        through: another address of the same database, for the operation alone: a proxy's.
    """
    async with open_ledger(through or dsn, max_size=2) as db:

        def prepare() -> None:
            witness.run("TRUNCATE entries")
            for key in before:
                witness.run("INSERT INTO entries VALUES (%s, 'before')", key)

        def make_operation(_k: int) -> Awaitable[None]:
            return operation(db)

        async def check(run: SweepRun) -> None:
            await pool_is_whole(db.statistics)
            await server_is_quiet(witness.connection)
            assert keys_in(dsn) == list(leaves if run.ended_normally else before)
            if also is not None:
                await also(run)
            prepare()
            answers = [await db.fetch_value(sql("SELECT {number}", number=number).returns(int)) for number in (run.k, run.k + 1)]
            assert answers == [run.k, run.k + 1]

        prepare()
        return await sweep(make_operation, check=check, may_absorb=may_absorb)
