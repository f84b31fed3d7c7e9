"""How often, and after which pauses, work is run again that failed for a passing reason."""

from __future__ import annotations

from attrs import field, frozen, validators

__all__ = ["Retry"]


@frozen(kw_only=True)
class Retry:
    """How to try again.

    The pause before attempt n + 1 is drawn evenly from 0 to `base_seconds * 2 ** (n - 1)`, at most `max_seconds` (full jitter). How long
    all of it may take is said by a cancel scope around the call.

    Attributes:
        max_attempts: how many attempts there are at most, the first included.
        base_seconds: the bound of the first pause.
        max_seconds: the bound that no pause exceeds.
    """

    max_attempts: int = field(default=10, validator=validators.ge(1))
    base_seconds: float = field(default=0.02, validator=validators.gt(0))
    max_seconds: float = field(default=1.0, validator=validators.gt(0))
