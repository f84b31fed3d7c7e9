"""Who leaves the line for a transaction's turn in the very moment in which the turn is handed over gives it to the next."""

import asyncio
from typing import TYPE_CHECKING

import anyio
import pytest

from trioorm.transaction.turns import Passenger, Turns

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("way", ["block", "statement"])
async def test_the_turn_of_one_that_leaves_goes_to_the_next(way: str, backend: str) -> None:
    """asyncio's own cancel comes although the turn was handed over; on Trio the one who was called has it, and gives it back."""
    turns = Turns()
    has_had_it: list[str] = []
    leave: list[Callable[[], object]] = []

    async def wait_in_line(name: str) -> None:
        with anyio.CancelScope() as scope:
            task = asyncio.current_task() if backend == "asyncio" else None
            leave.append(scope.cancel if task is None else task.cancel)
            if way == "block":
                await turns.take_turn()
            else:
                await turns.ride(Passenger([], is_write=False, alone=False))
            has_had_it.append(name)
            turns.give_turn()

    with anyio.fail_after(10):
        await turns.take_turn()
        async with anyio.create_task_group() as nursery:
            for name in ("the one that leaves", "the next"):
                nursery.start_soon(wait_in_line, name)
                await anyio.wait_all_tasks_blocked()
            turns.give_turn()
            leave[0]()
    assert has_had_it == (["the next"] if backend == "asyncio" else ["the one that leaves", "the next"])
    assert not turns.turn_is_taken


async def test_one_that_left_the_line_before_is_passed_over() -> None:
    turns = Turns()
    await turns.take_turn()
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(turns.take_turn)
        await anyio.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    turns.give_turn()
    assert not turns.turn_is_taken
