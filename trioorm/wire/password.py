"""Passwords that are asked for when a connection is opened: tokens that rotate.

The contract: what a function answers goes to libpq and nowhere else, not into a log, an error or a `repr`. A plain function runs in a
thread, since those who sign tokens like to ask the network; an async one runs on the event loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
from anyio import to_thread

from trioorm.errors import UsageError
from trioorm.wire.connect_errors import ConnectFailed

__all__ = ["Password", "password_text"]

Password = str | Callable[[], str] | Callable[[], Awaitable[str]]


async def password_text(password: Password, *, seconds: float) -> str:
    """The password itself, asked for if it is a function.

    Args:
        password: text, or what to ask.
        seconds: how long the answer may take.

    Raises:
        ConnectFailed: the function failed, or did not answer in time. Safe to retry.
        UsageError: it answered with something that is no text.

    Checkpoint: only if a function is asked.
    """
    if isinstance(password, str):
        return password
    answer: object = None
    with anyio.move_on_after(seconds) as scope:
        try:
            answer = await _ask(password)
        except Exception as error:
            raise ConnectFailed(
                f"the function that gives the password raised {type(error).__name__}.\nTo fix it: see the error's cause."
            ) from error
    if scope.cancelled_caught:
        raise ConnectFailed(
            f"the function that gives the password did not answer within {seconds:g} s.\n"
            "To fix it: give it a time limit of its own, or raise connect_timeout in the address."
        )
    if not isinstance(answer, str):
        raise UsageError(f"the function that gives the password returned {type(answer).__name__}.\nTo fix it: return text.")
    return answer


async def _ask(function: Callable[[], str | Awaitable[str]]) -> object:
    if _is_async(function):
        answer: object = function()
    else:
        answer = await to_thread.run_sync(function, abandon_on_cancel=True)
    return await answer if inspect.isawaitable(answer) else answer


def _is_async(function: Callable[[], Any]) -> bool:
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004 - its kind, not whether it is there
