"""The pool of connections: fair waiting, hand-over without an await, whole after every cancellation. Knows no models."""

from trioorm.pool.behalf import acting_for
from trioorm.pool.connecting import Connector, Pooler
from trioorm.pool.errors import PoolClosed, PoolDeadlock, PoolTimeout, TooManyRequests
from trioorm.pool.hub import Hub, Subscription
from trioorm.pool.lease import Lease
from trioorm.pool.notifications import Gap, ListenEvent, Notification, Overflow, checked_channel
from trioorm.pool.opening import open_pool
from trioorm.pool.outcome_hooks import OutcomeHook
from trioorm.pool.place import place_of_caller
from trioorm.pool.pool import Pool
from trioorm.pool.settings import (
    Connection,
    Hook,
    LaneStatistics,
    Loan,
    Percentiles,
    PoolOptions,
    PoolSettings,
    PoolStatistics,
    settings_from,
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
    "open_pool",
    "place_of_caller",
    "settings_from",
]
