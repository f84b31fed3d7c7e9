"""One contender for one round, in a process of its own: prints a JSON line with the CPU time of each operation in milliseconds.

python -m benchmarks.bulk.worker NAME DSN WORKLOADS
"""

import hashlib
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import anyio

from benchmarks.bulk.contenders import CONTENDERS, Contender, answers

ROWS = 1000
LOADED = [(number, f"person {number}", number % 50) for number in range(100_000)]
NAMED = [(f"person {number}", number % 50) for number in range(ROWS)]

WORKLOADS: dict[str, tuple[Callable[[Contender], Awaitable[object]], int]] = {
    "fetch": (lambda contender: contender.fetch(), 40),
    "stream": (lambda contender: contender.stream(), 2),
    "load": (lambda contender: contender.load(LOADED), 3),
    "insert": (lambda contender: contender.insert(NAMED), 30),
    "update": (lambda contender: contender.update({key: key % 70 for key in range(1, ROWS + 1)}), 30),
}
"""By name: what is done, and how often in a round."""


async def _measure(name: str, dsn: str, workloads: list[str]) -> dict[str, object]:
    contender = CONTENDERS[name][0]()
    await contender.open(dsn)
    try:
        given = hashlib.sha256(repr(await answers(contender)).encode()).hexdigest()
        millis: dict[str, float] = {}
        for workload in workloads:
            operate, times = WORKLOADS[workload]
            await operate(contender)
            spent: list[float] = []
            for _ in range(times):
                began = time.process_time()
                await operate(contender)
                spent.append(time.process_time() - began)
            millis[workload] = statistics.median(spent) * 1e3
    finally:
        await contender.close()
    return {"answers": given, "millis": millis}


def main() -> None:
    """Run as a program."""
    name, dsn, workloads = sys.argv[1:]
    print(json.dumps(anyio.run(_measure, name, dsn, workloads.split(","), backend=CONTENDERS[name][1])))


if __name__ == "__main__":
    main()
