"""Which blocks the running code is inside of: the mark that a transaction leaves in the context of its body and its children.

A child task inherits the marks of the code that started it, so no ceremony is needed; it is how using a transaction from inside one's own
savepoint or stream is told from a sibling's statement that has only to wait its turn.
"""

from contextvars import ContextVar

_blocks: ContextVar[tuple[object, ...]] = ContextVar("trioorm_blocks", default=())


def enter_block(block: object) -> tuple[object, ...]:
    """Mark the running code as inside a block; returns what to give to `restore_blocks`."""
    before = _blocks.get()
    _blocks.set((*before, block))
    return before


def restore_blocks(before: tuple[object, ...]) -> None:
    """Set the marks back. Not by a token: a block entered in one context may be left in another (a fixture's)."""
    _blocks.set(before)


def is_inside(block: object) -> bool:
    """Whether the running code is inside a block."""
    return block in _blocks.get()


def blocks_within(block: object) -> tuple[object, ...]:
    """The marks from the outermost to this block; all of them when the block is not among them."""
    blocks = _blocks.get()
    return blocks[: blocks.index(block) + 1] if block in blocks else blocks


def open_blocks() -> tuple[object, ...]:
    """The marks that the running code carries, from the outermost in."""
    return _blocks.get()
