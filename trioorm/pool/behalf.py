"""Tasks that work for another one, which waits for them or they for it: to the pool's search for deadlocks the two are one.

A source of rows that is read ahead, for example, has a task of its own: while it waits for a connection, so does in the end the task
that sends the rows; and while that one waits, nobody takes the source's rows.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager

from trioorm.wire.running_loop import running_task

__all__ = ["acting_for", "principals"]

_principals: dict[object, object] = {}


@contextmanager
def acting_for(task: object) -> Generator[None]:
    """While the block lasts, the running task works for another."""
    mine = running_task()()
    _principals[mine] = task
    try:
        yield
    finally:
        del _principals[mine]


def principals(tasks: Iterable[object]) -> set[object]:
    """For whom these tasks work: mostly themselves."""
    return {_principal(task) for task in tasks} if _principals else set(tasks)


def _principal(task: object) -> object:
    while (other := _principals.get(task)) is not None:
        task = other
    return task
