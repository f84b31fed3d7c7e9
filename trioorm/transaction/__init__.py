"""Transactions and savepoints as nurseries, and statements outside of them. Knows no models."""

from trioorm.transaction.runner import Hold, PoolRunner, Runner
from trioorm.transaction.transaction import Isolation, SavepointScope, TransactionScope, begin_text

__all__ = ["Hold", "Isolation", "PoolRunner", "Runner", "SavepointScope", "TransactionScope", "begin_text"]
