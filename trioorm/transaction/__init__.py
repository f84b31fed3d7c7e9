"""Transactions and savepoints as nurseries, and statements outside of them. Knows no models."""

from typing import TYPE_CHECKING

from trioorm.later import given_later
from trioorm.transaction.inside import open_blocks, restore_blocks
from trioorm.transaction.outcome import Outcome, ask_outcome
from trioorm.transaction.runner import Hold, PoolRunner, Runner, failure_among
from trioorm.transaction.settings import SettingValue, setting_steps
from trioorm.transaction.transaction import Isolation, SavepointScope, TransactionScope, begin_steps, refuse_inside_transaction

if TYPE_CHECKING:
    from trioorm.transaction.advisory_lock import AdvisoryLock, lock_in_transaction
    from trioorm.transaction.snapshot import HeldReads, SnapshotScope
    from trioorm.transaction.whole_flight import WholeFlight
else:
    __getattr__, __dir__ = given_later(
        __name__,
        {
            "trioorm.transaction.advisory_lock": "AdvisoryLock lock_in_transaction",
            "trioorm.transaction.snapshot": "HeldReads SnapshotScope",
            "trioorm.transaction.whole_flight": "WholeFlight",
        },
    )

__all__ = [
    "AdvisoryLock",
    "HeldReads",
    "Hold",
    "Isolation",
    "Outcome",
    "PoolRunner",
    "Runner",
    "SavepointScope",
    "SettingValue",
    "SnapshotScope",
    "TransactionScope",
    "WholeFlight",
    "ask_outcome",
    "begin_steps",
    "failure_among",
    "lock_in_transaction",
    "open_blocks",
    "refuse_inside_transaction",
    "restore_blocks",
    "setting_steps",
]
