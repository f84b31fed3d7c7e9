"""What to do when the server is in trouble: how long to wait before the next attempt, and whether there is one."""

from trioorm.resilience.attempts import Attempt, Attempts
from trioorm.resilience.backoff import Backoff
from trioorm.resilience.retry import Retry

__all__ = ["Attempt", "Attempts", "Backoff", "Retry"]
