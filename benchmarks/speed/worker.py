"""One contender for one round, in a process of its own: prints a JSON line with CPU and wall time for each operation.

python -m benchmarks.speed.worker NAME DSN OPERATIONS
"""

import json
import sys
import time
from collections.abc import Awaitable, Callable

import anyio

from benchmarks.speed.contenders import CONTENDERS, Contender, answers

WORKLOADS: dict[str, Callable[[Contender, int], Awaitable[object]]] = {
    "get by key": lambda contender, number: contender.get(number % 1000 + 1),
    "filter, 20 rows": lambda contender, number: contender.filter(number % 50),
    "insert one, with its key": lambda contender, number: contender.insert(f"person {number}"),
    "update in a transaction": lambda contender, number: contender.update(number % 1000 + 1),
}


async def _measure(name: str, dsn: str, operations: int) -> dict[str, object]:
    contender = CONTENDERS[name][0]()
    await contender.open(dsn)
    try:
        given = await answers(contender)
        micros: dict[str, tuple[float, float]] = {}
        for workload, operate in WORKLOADS.items():
            for number in range(operations // 10 + 1):
                await operate(contender, number)
            cpu, wall = time.process_time(), time.perf_counter()
            for number in range(operations):
                await operate(contender, number)
            micros[workload] = (
                (time.process_time() - cpu) / operations * 1e6,
                (time.perf_counter() - wall) / operations * 1e6,
            )
    finally:
        await contender.close()
    return {"answers": repr(given), "micros": micros}


def main() -> None:
    """Run as a program."""
    name, dsn, operations = sys.argv[1:]
    print(json.dumps(anyio.run(_measure, name, dsn, int(operations), backend=CONTENDERS[name][1])))


if __name__ == "__main__":
    main()
