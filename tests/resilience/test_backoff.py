"""Delays between attempts: random below a bound that doubles, up to a limit, and starts anew after a success."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioorm.resilience import Backoff

_DRAWS = 200


def _delays_after(failures: int, backoff: Backoff) -> list[float]:
    """Many draws of the delay that follows a number of failures."""
    delays: list[float] = []
    for _ in range(_DRAWS):
        backoff.failures = failures
        delays.append(backoff.next_delay())
    return delays


@pytest.mark.parametrize(("failures", "bound"), [(0, 0.1), (1, 0.2), (2, 0.4), (3, 0.8), (4, 1.0), (10, 1.0), (10_000, 1.0)])
def test_the_bound_doubles_up_to_the_limit(failures: int, bound: float) -> None:
    delays = _delays_after(failures, Backoff(base_seconds=0.1, max_seconds=1.0))
    assert min(delays) >= 0
    assert bound * 0.9 < max(delays) <= bound, "the whole room below the bound is used"
    assert min(delays) < bound * 0.1


def test_a_success_makes_the_next_delay_short_again() -> None:
    backoff = Backoff(base_seconds=0.1, max_seconds=100)
    for _ in range(8):
        backoff.next_delay()
    assert backoff.failures == 8
    backoff.succeeded()
    assert backoff.failures == 0
    assert backoff.next_delay() <= 0.1


def test_two_clients_do_not_come_back_together() -> None:
    one, other = (_delays_after(3, Backoff()) for _ in range(2))
    assert len(set(one) & set(other)) < 3


@given(base=st.floats(0.001, 10), limit=st.floats(0.001, 10), failures=st.integers(0, 100))
def test_no_delay_is_above_the_limit(base: float, limit: float, failures: int) -> None:
    backoff = Backoff(base_seconds=base, max_seconds=limit, failures=failures)
    assert 0 <= backoff.next_delay() <= min(limit, base * 2.0**failures)


@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_lengths_are_above_zero(wrong: float) -> None:
    with pytest.raises(ValueError, match="base_seconds"):
        Backoff(base_seconds=wrong)
    with pytest.raises(ValueError, match="max_seconds"):
        Backoff(max_seconds=wrong)
