"""What to do when the server is in trouble: for now, how long to wait before the next attempt."""

from trioorm.resilience.backoff import Backoff

__all__ = ["Backoff"]
