"""One contender in a process of its own, which does what it is told over a pipe.

    python -m benchmarks.speed.worker NAME ADDRESS

The contract: each line of standard input is a JSON object, answered by one line of JSON: `answer` gives what a workload's first
operations give as plain values, `calibrate` the number of operations that take so many seconds, `time` the seconds of wall and of CPU time
that a number of operations took. At the end of input it closes what it opened and ends. Event loop and connections live as long as it
does, so what is timed is a program that has run for a while.
"""

import functools
import gc
import json
import os
import sys
import time
from typing import Any

import anyio

from benchmarks.speed.contender import Address, Contender, Opening
from benchmarks.speed.entrants import ENTRANTS, Entrant
from benchmarks.speed.workloads import POOL_SIZE, WORKLOADS, Workload


class _Work:
    """The contender in the ways in which it was opened so far."""

    def __init__(self, entrant: Entrant, where: Address) -> None:
        self._kind = entrant.load()
        self._where = where
        self._open: dict[Opening, Contender] = {}

    async def contender(self, opening: Opening) -> Contender:
        if opening not in self._open:
            contender = self._kind()
            await contender.open(self._where, opening, 1 if opening is Opening.SINGLE else POOL_SIZE)
            self._open[opening] = contender
        return self._open[opening]

    async def close(self) -> None:
        for contender in reversed(self._open.values()):  # blocks end in the order that mirrors that of their beginnings
            await contender.close()

    async def do(self, order: dict[str, Any]) -> object:
        workload = WORKLOADS[order["workload"]]
        contender = await self.contender(workload.opening)
        if order["do"] == "answer":
            return await workload.answer(contender)
        if order["do"] == "calibrate":
            return await _calibrate(workload, contender, order["seconds"])
        return await _time(workload, contender, order["operations"])


async def _run(workload: Workload, contender: Contender, operations: int) -> float:
    operate = workload.operate
    begin = time.perf_counter()
    for number in range(operations):
        await operate(contender, number)
    return time.perf_counter() - begin


async def _calibrate(workload: Workload, contender: Contender, seconds: float) -> int:
    if workload.most == 1:
        return 1
    operations = 1
    # The best of several: one run that others on the machine held up would leave too few operations for a figure.
    best = min([await _run(workload, contender, 1) for _ in range(3)])
    while operations < workload.most and operations * best < seconds / 4:
        operations *= 2
        best = min(best, await _run(workload, contender, operations) / operations)
    return max(1, min(workload.most, int(seconds / best)))


async def _time(workload: Workload, contender: Contender, operations: int) -> dict[str, float]:
    if workload.most > 1:
        await _run(workload, contender, operations // 10 + 1)  # caches are cold, and tables may have been emptied since
    gc.collect()  # what other workloads left behind is not this one's
    cpu = time.process_time()
    wall = await _run(workload, contender, operations)
    return {"wall": wall, "cpu": time.process_time() - cpu}


async def _serve(entrant: Entrant, where: Address, answers: Any) -> None:
    work = _Work(entrant, where)
    try:
        for line in sys.stdin:  # the loop stands still meanwhile, so that nothing in the background counts
            print(json.dumps(await work.do(json.loads(line))), file=answers, flush=True)
    finally:
        await work.close()


def main() -> None:
    """Run as a program."""
    name, address = sys.argv[1:]
    entrant = ENTRANTS[name]
    where = Address(**json.loads(address))
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what a library prints must not be taken for an answer
        serve = functools.partial(_serve, entrant, where, answers)
        options = {"use_uvloop": True} if entrant.loop == "uvloop" else {}
        anyio.run(serve, backend="trio" if entrant.loop == "trio" else "asyncio", backend_options=options)


if __name__ == "__main__":
    main()
