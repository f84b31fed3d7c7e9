"""What to do when the server is in trouble: how long to wait before the next attempt, and whether there is one."""

from typing import TYPE_CHECKING

from trioorm.later import given_later
from trioorm.resilience.backoff import Backoff
from trioorm.resilience.retry import Retry

if TYPE_CHECKING:
    from trioorm.resilience.attempts import Attempt, Attempts
else:
    __getattr__, __dir__ = given_later(
        __name__,
        {
            "trioorm.resilience.attempts": "Attempt Attempts",
        },
    )

__all__ = ["Attempt", "Attempts", "Backoff", "Retry"]
