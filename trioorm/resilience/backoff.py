"""Delays between attempts: exponential, with full jitter, so that a thousand clients do not come back at the same moment.

Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ ("full jitter").
"""

from __future__ import annotations

import random

from attrs import define, field, validators


@define(eq=False, repr=False)
class Backoff:
    """A sequence of delays.

    Attributes:
        base_seconds: the bound of the first delay.
        max_seconds: the bound that no delay exceeds.
        failures: how many attempts have failed in a row.
    """

    base_seconds: float = field(default=0.05, validator=validators.gt(0))
    max_seconds: float = field(default=0.5, validator=validators.gt(0))
    failures: int = 0

    def next_delay(self) -> float:
        """Note a failure; how long to wait before the next attempt, in seconds."""
        bound = min(self.max_seconds, self.base_seconds * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return random.uniform(0, bound)

    def succeeded(self) -> None:
        """Note a success: the next delay is short again."""
        self.failures = 0
