"""The pool of connections: fair waiting, hand-over without an await, whole after every cancellation. Knows no models."""

from trioorm.pool.errors import PoolClosed, PoolDeadlock, PoolTimeout, TooManyRequests
from trioorm.pool.lease import Lease
from trioorm.pool.opening import open_pool
from trioorm.pool.pool import Pool
from trioorm.pool.settings import Loan, Percentiles, PoolSettings, PoolStatistics

__all__ = [
    "Lease",
    "Loan",
    "Percentiles",
    "Pool",
    "PoolClosed",
    "PoolDeadlock",
    "PoolSettings",
    "PoolStatistics",
    "PoolTimeout",
    "TooManyRequests",
    "open_pool",
]
