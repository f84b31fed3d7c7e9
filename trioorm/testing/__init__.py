"""Tools for testing code that must survive cancellation: the sweep, and checks of the pool and the server.

Public names are those listed in `__all__`; how to use them is told in docs/testing.md.
"""

from trioorm.testing.cancellation import Cancellation, available_cancellations
from trioorm.testing.quiet import PoolFigures, pool_is_whole, server_is_quiet
from trioorm.testing.report import InvariantBroken, Outcome, SweepFailed, SweepReport, SweepRun
from trioorm.testing.suspension import Frame, Place
from trioorm.testing.sweep import count_suspensions, sweep

__all__ = [
    "Cancellation",
    "Frame",
    "InvariantBroken",
    "Outcome",
    "Place",
    "PoolFigures",
    "SweepFailed",
    "SweepReport",
    "SweepRun",
    "available_cancellations",
    "count_suspensions",
    "pool_is_whole",
    "server_is_quiet",
    "sweep",
]
