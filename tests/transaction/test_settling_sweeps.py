"""Promises 1 and 3 together: the answer to COMMIT is lost, and the block is cancelled at each suspension in each way while it is settled.

The contract: it ends normally if and only if the rows are there, whatever was cancelled and wherever; no outcome stays unknown, since the
server is in reach.
"""

from collections.abc import Iterator

import pytest

from tests.transaction.ledger import write
from tests.transaction.swept import sweep_ledger
from tests.wire.witness import Witness
from trioorm import ConnectionLost, Database
from trioorm.testing import Direction, FaultProxy, available_cancellations, running_proxy


@pytest.fixture
def proxy(dsn: str) -> Iterator[FaultProxy]:
    with running_proxy(dsn) as proxy:
        yield proxy


@pytest.mark.parametrize("lost", Direction, ids=["COMMIT", "its answer"])
async def test_a_lost_commit_cancelled_anywhere(dsn: str, witness: Witness, proxy: FaultProxy, lost: Direction) -> None:
    cuts = 0
    raised: list[ConnectionLost] = []

    async def operation(db: Database) -> None:
        nonlocal cuts
        cut = None
        try:
            async with db.transaction() as tx:
                await write(tx, 1)
                cut = proxy.cut_at(lost, delivered=False)
        except ConnectionLost as error:
            raised.append(error)
        finally:
            if cut is not None:
                proxy.disarm(cut)
                cuts += cut.happened

    report = await sweep_ledger(
        dsn, witness, operation, leaves=[1] if lost is Direction.TO_CLIENT else [], may_absorb=True, through=proxy.conninfo()
    )
    assert {run.kind for run in report.runs if run.reached} == set(available_cancellations())
    assert cuts > 2 * len(available_cancellations()), "many a cancellation came after the cut"
    assert bool(raised) == (lost is Direction.TO_SERVER), "else the server had it, and said so"
    assert all(error.safe_to_retry for error in raised)
