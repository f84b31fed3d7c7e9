"""The pool of connections: fair waiting, hand-over without an await, whole after every cancellation. Knows no models."""

from typing import TYPE_CHECKING

from trioorm.later import given_later
from trioorm.pool.behalf import acting_for
from trioorm.pool.connecting import Connector, Pooler
from trioorm.pool.lease import Lease
from trioorm.pool.opening import open_pool
from trioorm.pool.outcome_hooks import OutcomeHook
from trioorm.pool.place import Mark, mark_of_caller, place_of_caller, shown
from trioorm.pool.pool import Pool
from trioorm.pool.settings import (
    Connection,
    Hook,
    PoolOptions,
    PoolSettings,
    settings_from,
)

if TYPE_CHECKING:
    from trioorm.pool.errors import PoolClosed, PoolDeadlock, PoolTimeout, TooManyRequests
    from trioorm.pool.hub import Hub, Subscription
    from trioorm.pool.notifications import Gap, ListenEvent, Notification, Overflow, checked_channel
    from trioorm.pool.statistics import LaneStatistics, Loan, Percentiles, PoolStatistics
else:  # the errors are psycopg_pool's too, whose import takes longer than that of all our rooms but three
    __getattr__, __dir__ = given_later(
        __name__,
        {
            "trioorm.pool.errors": "PoolClosed PoolDeadlock PoolTimeout TooManyRequests",
            "trioorm.pool.hub": "Hub Subscription",
            "trioorm.pool.notifications": "Gap ListenEvent Notification Overflow checked_channel",
            "trioorm.pool.statistics": "LaneStatistics Loan Percentiles PoolStatistics",
        },
    )

__all__ = [
    "Connection",
    "Connector",
    "Gap",
    "Hook",
    "Hub",
    "LaneStatistics",
    "Lease",
    "ListenEvent",
    "Loan",
    "Mark",
    "Notification",
    "OutcomeHook",
    "Overflow",
    "Percentiles",
    "Pool",
    "PoolClosed",
    "PoolDeadlock",
    "PoolOptions",
    "PoolSettings",
    "PoolStatistics",
    "PoolTimeout",
    "Pooler",
    "Subscription",
    "TooManyRequests",
    "acting_for",
    "checked_channel",
    "mark_of_caller",
    "open_pool",
    "place_of_caller",
    "settings_from",
    "shown",
]
