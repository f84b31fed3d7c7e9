"""The hooks that one block was given, until its fate is known.

The contract: a savepoint that takes effect hands its hooks to the block around it, since their fate is that block's now. Who is told the
fate of a whole transaction runs them (`pool/hooks.py`); while it is unknown, nobody does.
"""

from __future__ import annotations

from functools import partial

from trioorm.pool import OutcomeHook
from trioorm.transaction.inside import restore_blocks

__all__ = ["BlockHooks", "outside_of_all_blocks"]

outside_of_all_blocks = partial(restore_blocks, ())
"""Take from a hook's task the marks of whatever blocks it was started in: it belongs to none of them."""


class BlockHooks:
    """Hooks in the order in which they were given."""

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: list[tuple[bool, OutcomeHook]] = []

    def add(self, hook: OutcomeHook, *, on_commit: bool) -> None:
        """Remember a hook for one of the two outcomes."""
        self._given.append((on_commit, hook))

    def take_over(self, inner: BlockHooks) -> None:
        """Remember all hooks of an inner block that has taken effect."""
        self._given.extend(inner._given)

    def due(self, *, committed: bool) -> list[OutcomeHook]:
        """The hooks for an outcome."""
        return [hook for on_commit, hook in self._given if on_commit is committed]
