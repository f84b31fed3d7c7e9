"""The mailbox of a subscriber, event by event, and which names a channel may have."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioorm.errors import QueryError, UsageError
from trioorm.pool import Gap, ListenEvent, Notification, Overflow, checked_channel
from trioorm.pool.notifications import Mailbox


def _notification(number: int) -> Notification:
    return Notification("numbers", str(number), 1)


def _filled(limit: int, numbers: Sequence[int]) -> Mailbox:
    mailbox = Mailbox(limit)
    for number in numbers:
        mailbox.put(_notification(number))
    return mailbox


def _taken(mailbox: Mailbox) -> list[ListenEvent]:
    events: list[ListenEvent] = []
    while (event := mailbox.take()) is not None:
        events.append(event)
    return events


def test_what_fits_comes_in_order() -> None:
    assert _taken(_filled(3, [1, 2, 3])) == [_notification(1), _notification(2), _notification(3)]


def test_what_does_not_fit_is_counted_behind_what_did() -> None:
    assert _taken(_filled(2, [1, 2, 3, 4, 5])) == [_notification(1), _notification(2), Overflow(3)]


def test_what_comes_after_room_was_made_stands_behind_the_overflow() -> None:
    mailbox = _filled(2, [1, 2, 3])
    assert mailbox.take() == _notification(1)
    mailbox.put(_notification(4))
    mailbox.put(_notification(5))
    assert _taken(mailbox) == [_notification(2), Overflow(1), _notification(4), Overflow(1)]


def test_a_gap_stands_where_it_was() -> None:
    mailbox = _filled(2, [1])
    mailbox.put_gap()
    mailbox.put(_notification(2))
    assert _taken(mailbox) == [_notification(1), Gap(), _notification(2)]


def test_gaps_in_a_row_are_one() -> None:
    mailbox = _filled(2, [1])
    mailbox.put_gap()
    mailbox.put_gap()
    assert _taken(mailbox) == [_notification(1), Gap()]


def test_a_buffer_must_hold_something() -> None:
    with pytest.raises(UsageError, match="buffer must be at least 1, not 0"):
        Mailbox(0)


@given(limit=st.integers(1, 4), actions=st.lists(st.sampled_from(["put", "put", "put", "gap", "take"]), max_size=60))
def test_nothing_is_lost_without_an_event_that_says_so(limit: int, actions: list[str]) -> None:
    """Against a model that remembers all: each event taken is what had to come next."""
    mailbox = Mailbox(limit)
    put = 0
    gaps_owed = 0  # 1 while a gap has been put and not been taken
    taken: list[ListenEvent] = []
    most = 0
    kept = 0
    for action in actions:
        if action == "put":
            put += 1
            kept += 1
            mailbox.put(_notification(put))
        elif action == "gap":
            gaps_owed = 1
            mailbox.put_gap()
        elif (event := mailbox.take()) is not None:
            taken.append(event)
            kept -= isinstance(event, Notification)
        most = max(most, len(mailbox._events))  # pyright: ignore[reportPrivateUsage] - the bound of its memory is the promise
    rest = _taken(mailbox)
    taken += rest
    expected = 1
    for event in taken:
        match event:
            case Notification(_, payload):
                assert int(payload) == expected, "a notification came that was not the next, and no overflow had said so"
                expected += 1
            case Overflow(missed):
                assert missed > 0
                expected += missed
            case Gap():
                pass
    assert expected == put + 1, "the last ones are missing, and nothing says so"
    if gaps_owed:
        assert Gap() in taken
    assert most <= 3 * limit


# Names.


@pytest.mark.parametrize("name", ["orders", "Orders of 'Ada' \"now\"", "é" * 31, "x" * 63])
def test_a_name_that_the_server_can_know(name: str) -> None:
    assert checked_channel(name) == name


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("", "is empty"),
        ("x" * 64, "is 64 bytes long"),
        ("é" * 32, "is 64 bytes long"),
        ("a\0b", "holds a character"),
        ("\udc80", "holds a character"),
        (7, "named by text, not by 7"),
    ],
)
def test_a_name_that_it_cannot_know_is_refused(name: str, what: str) -> None:
    with pytest.raises(QueryError, match=re.escape(what)) as caught:
        checked_channel(name)
    assert "To fix it: " in str(caught.value)
