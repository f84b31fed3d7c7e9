"""The pool of connections: fair waiting, hand-over without an await, whole after every cancellation. Knows no models."""

from trioorm.pool.errors import PoolClosed, PoolTimeout, TooManyRequests
from trioorm.pool.lease import Lease
from trioorm.pool.pool import Pool, PoolSettings, PoolStatistics, open_pool

__all__ = ["Lease", "Pool", "PoolClosed", "PoolSettings", "PoolStatistics", "PoolTimeout", "TooManyRequests", "open_pool"]
