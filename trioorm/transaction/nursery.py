"""The nursery of a block: on Trio its own, elsewhere AnyIO's task group.

The contract: used with the words that both have (`start_soon`, `start`, `cancel_scope`). What leaves it is a group, or on AnyIO a bare
cancellation, and `aftermath` makes of either what the block raises. AnyIO's task group on Trio is Trio's nursery in two layers more, for
which every transaction would pay.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import cast

import trio
from anyio.abc import TaskGroup

__all__ = ["open_nursery"]


# Strict whatever `trio.run` was told: a child's error is to be told from the body's.
open_nursery = cast("Callable[[], AbstractAsyncContextManager[TaskGroup, bool | None]]", partial(trio.open_nursery, True))
"""A block that is a nursery of Trio's."""
