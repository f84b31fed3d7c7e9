"""The nursery of a block: on Trio its own, elsewhere AnyIO's task group.

The contract: used with the words that both have (`start_soon`, `start`, `cancel_scope`). What leaves it is a group, or on AnyIO a bare
cancellation, and `aftermath` makes of either what the block raises. AnyIO's task group on Trio is Trio's nursery in two layers more, for
which every transaction would pay.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import cast

import anyio
import trio
from anyio.abc import TaskGroup

__all__ = ["open_nursery"]


def open_nursery(*, on_trio: bool) -> AbstractAsyncContextManager[TaskGroup, bool | None]:
    """A block that is a nursery of the running loop."""
    if not on_trio:
        return anyio.create_task_group()
    # Strict whatever `trio.run` was told: a child's error is to be told from the body's.
    return cast("AbstractAsyncContextManager[TaskGroup, bool | None]", trio.open_nursery(strict_exception_groups=True))
