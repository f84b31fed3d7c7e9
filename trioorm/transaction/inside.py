"""Which blocks the running code is inside of: the mark that a transaction leaves in the context of its body and its children.

A child task inherits the marks of the code that started it, so no ceremony is needed; it is how using a transaction from inside one's own
savepoint or stream is told from a sibling's statement that has only to wait its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

_blocks: ContextVar[tuple[object, ...]] = ContextVar("trioorm_blocks", default=())

open_blocks: Callable[[], tuple[object, ...]] = _blocks.get
"""The marks that the running code carries, from the outermost in."""


carry_blocks: Callable[[tuple[object, ...]], object] = _blocks.set
"""Set the marks: to what `open_blocks` or `blocks_within` said, or to that and one more, which is what `enter_block` does."""


def restore_blocks(blocks: tuple[object, ...]) -> None:
    """The same, for what must return nothing."""
    _blocks.set(blocks)


def enter_block(block: object) -> None:
    """Mark the running code as inside a block."""
    _blocks.set((*_blocks.get(), block))


def leave_block(block: object) -> None:
    """Take a block's own mark away, and no other's. Not by a token: a block entered in one context may be left in another (a fixture's, or
    that of a source of rows which is read ahead), and inner ones need not be left first."""
    blocks = _blocks.get()
    if blocks and blocks[-1] is block:
        _blocks.set(blocks[:-1])
    else:
        _blocks.set(tuple(other for other in blocks if other is not block))


def is_inside(block: object) -> bool:
    """Whether the running code is inside a block."""
    return block in _blocks.get()


def blocks_within(block: object) -> tuple[object, ...]:
    """The marks from the outermost to this block; all of them when the block is not among them."""
    blocks = _blocks.get()
    return blocks[: blocks.index(block) + 1] if block in blocks else blocks
