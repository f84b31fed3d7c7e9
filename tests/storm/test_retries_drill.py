"""The drill of `make storm` for transactions that are tried again, in short."""

import random

from benchmarks.storm.retries import drill


async def test_no_transaction_is_written_twice_or_lost() -> None:
    seed = random.randrange(2**32)
    assert await drill(200, seed), f"seed {seed}"
