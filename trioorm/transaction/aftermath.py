"""What a block raises when its body or its children failed.

The rule: only the body failed, its exception goes on bare, with its own traceback. Any child failed: one exception group, the body's own
error among it, the root cause first, without echoes (`Cancelled`, and "current transaction is aborted" beside the error that aborted it).
"""

from __future__ import annotations

from typing import cast

import anyio

from trioorm.errors import TransactionAborted, leaves_of


def is_cancellation(error: BaseException) -> bool:
    """Whether an error is the running loop's cancellation."""
    return isinstance(error, anyio.get_cancelled_exc_class())


def aftermath(
    body_error: BaseException | None,
    nursery_error: BaseException,
    first_error: BaseException | None,
    *,
    what: str = "tasks of the transaction failed",
) -> BaseException:
    """The one exception that leaves a block.

    Args:
        body_error: what the body raised, if anything.
        nursery_error: what its nursery made of the body's and the children's errors.
        first_error: the error that aborted the transaction on the server, if any; it comes first.
        what: how a group is called.

    Returns:
        The body's error itself when nothing else is left; else a group; a bare cancellation when there is no error at all.
    """
    leaves = list(leaves_of(nursery_error))
    roots = [leaf for leaf in leaves if not is_cancellation(leaf) and not _is_echo(leaf, leaves)]
    if not roots:
        return body_error if body_error is not None and is_cancellation(body_error) else leaves[0]
    # The body may raise a group of its own, from a nursery inside it; that too goes on as it is.
    own = [] if body_error is None else [leaf for leaf in leaves_of(body_error) if not is_cancellation(leaf)]
    if body_error is not None and all(any(root is leaf for leaf in own) for root in roots):
        return body_error
    kept = {id(root) for root in roots}
    group = BaseExceptionGroup("", _members(nursery_error))
    _, rest = group.split(lambda error: not isinstance(error, BaseExceptionGroup) and id(error) not in kept)
    assert rest is not None, "at least one root cause is in the group"
    by_cause = sorted(rest.exceptions, key=lambda member: first_error is None or all(leaf is not first_error for leaf in leaves_of(member)))
    return BaseExceptionGroup(what, by_cause)


def _members(error: BaseException) -> tuple[BaseException, ...]:
    return cast("BaseExceptionGroup[BaseException]", error).exceptions if isinstance(error, BaseExceptionGroup) else (error,)


def _is_echo(leaf: BaseException, leaves: list[BaseException]) -> bool:
    """Whether an error only repeats that the transaction was aborted by another error, which is in the group too."""
    return isinstance(leaf, TransactionAborted) and any(other is leaf.__cause__ for other in leaves)
